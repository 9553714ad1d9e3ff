"""One service from an empty machine: requests over HTTP, and restarts of its killed child processes."""

import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.database import eventually
from tests.loopback import NO_TLS
from tests.server.person import Person, fetch
from tests.server.processes import named
from tests.server.service import Service

PAINTER = "huajuan.demo_comfyui"


@pytest.fixture(scope="module")
def service(module_folder: Path) -> Iterator[Service]:
    with Service(module_folder) as started:
        yield started.ready()


def painter_of(service: Service) -> int:
    """The pid of its demo ComfyUI, once it runs."""
    eventually(lambda: named(service.family(), PAINTER))
    (pid,) = named(service.family(), PAINTER)
    return pid


def test_the_welcome_message_has_addresses_and_folders(service: Service) -> None:
    assert f"http://localhost:{service.port}" in service.told
    assert f"embedded PostgreSQL {service.postgres.version} in {service.postgres.root}" in service.told
    assert "demo ComfyUI at http://127.0.0.1:" in service.told
    assert "draws without a model" in service.told


def test_a_user_registers_checks_in_and_gets_a_picture(service: Service) -> None:
    at = service.address
    ann = Person("ann", at)
    assert ann.register_reply == {"code": 200, "message": "注册成功"}
    assert ann.login_reply.items() >= {"code": 200, "message": "登录成功", "avatar": ""}.items()
    assert ann.check_in(at) == {
        "code": 200,
        "success": True,
        "message": "积分记录更新成功!用户当前积分为100",
        "score": 100,
    }
    made = ann.generate(at)
    assert made.items() >= {"code": 200, "success": True, "message": "用户当前积分为80", "score": 80}.items()
    assert made["image_url"].startswith(f"http://localhost:{service.port}/images/")
    picture = fetch(at, made["image_url"])
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(picture.content)) as opened:
        assert (opened.format, opened.size) == ("PNG", (220, 200))
    assert ann.score(at) == 80
    assert [(i["id"], i["picture"], i["prompt"]) for i in ann.images(at)] == [
        (made["id"], made["image_url"], "sun")
    ]


def test_a_second_service_on_the_port_fails(service: Service) -> None:
    with Service(service.postgres.root.parents[1], service.port) as second:
        assert second.process.wait(60) == 1
        assert second.told == (
            f"huajuan: the port is taken: another process listens on 127.0.0.1:{service.port}. "
            "Set HUAJUAN_PORT to another.\n"
        )
    assert httpx.get(f"{service.address}/readyz", trust_env=False, verify=NO_TLS).status_code == 200


def test_a_service_on_another_port_shares_the_data(service: Service) -> None:
    here = service.address
    ben = Person("ben", here)
    ben.check_in(here)
    with Service(service.postgres.root.parents[1]) as second:
        there = second.ready().address
        assert ben.log_in(there)["message"] == "登录成功"
        made = ben.generate(there)
        assert ben.score(here) == 80
        assert fetch(here, made["image_url"]).content == fetch(there, made["image_url"]).content
        assert second.stop() == 0
    assert service.postgres.running()
    assert ben.generate(here)["score"] == 60


def test_a_killed_demo_comfyui_is_restarted_on_its_port(service: Service) -> None:
    cat = Person("cat", service.address)
    cat.check_in(service.address)
    killed = painter_of(service)
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: painter_of(service) != killed)
    eventually(lambda: cat.generate(service.address)["code"] == 200)
    assert cat.score(service.address) == 80
    assert "demo ComfyUI died, starting it again" in service.told


def test_a_killed_database_is_restarted_without_loss(service: Service) -> None:
    dan = Person("dan", service.address)
    assert dan.check_in(service.address)["score"] == 100
    killed = service.postgres.running()
    assert killed
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: service.postgres.running() not in (None, killed))
    eventually(
        lambda: httpx.get(f"{service.address}/readyz", trust_env=False, verify=NO_TLS).status_code == 200
    )
    # Rows of a read table that a crash lost are folded again a moment later.
    eventually(lambda: dan.score(service.address) == 100)
    assert dan.generate(service.address)["score"] == 80
    assert dan.score(service.address) == 80
    assert "the database server died, starting it again" in service.told
