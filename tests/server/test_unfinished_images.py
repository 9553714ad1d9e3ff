"""A service that dies during a drawing: the next one completes the image exactly once."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from huajuan.inference_client import ClientLimits
from huajuan.jobs.queue import DispatchLimits
from tests.database import eventually
from tests.loopback import NO_TLS
from tests.server.person import Person, fetch
from tests.server.service import CHECKOUT, PATIENCE_SECONDS, Service, environment

COMMAND = [sys.executable, "-P", "-m", "huajuan.demo_comfyui"]
SOON: dict[str, Any] = {
    "jobs": DispatchLimits(lease_seconds=1, heartbeat_seconds=0.3, claim_interval_seconds=0.3),
    "inference_client": ClientLimits(lost_seconds_max=0.5, history_seconds_max=0.5),
    "stop_seconds_max": 1,
}
SLOW_STEPS = 15


class InferenceServer:
    """A demo ComfyUI outside of the service, at 0.2 seconds a step; after a restart it has no jobs."""

    def __init__(self, port: int = 0) -> None:
        self._child = subprocess.Popen(
            [*COMMAND, "--port", str(port), "--step-seconds", "0.2"],
            stdout=subprocess.PIPE,
            env=environment(),
            cwd=CHECKOUT,
        )
        assert self._child.stdout
        self.url: str = json.loads(self._child.stdout.readline())["url"]

    def is_drawing(self) -> bool:
        queue = httpx.get(f"{self.url}/queue", trust_env=False, verify=NO_TLS).json()
        return bool(queue["queue_running"])

    def kill(self) -> None:
        self._child.kill()
        self._child.communicate(timeout=PATIENCE_SECONDS)

    def killed_and_restarted(self) -> "InferenceServer":
        self.kill()
        return InferenceServer(int(self.url.rpartition(":")[2]))


@pytest.fixture
def painter() -> Iterator[InferenceServer]:
    started = InferenceServer()
    yield started
    started.kill()


def a_drawing_under_way(name: str, service: Service, painter: InferenceServer) -> Person:
    """A user with a request for a picture that takes a while."""
    person = Person(name, service.ready().address)
    person.check_in(service.address)
    person.generate_aside(service.address, steps=SLOW_STEPS)
    eventually(painter.is_drawing)
    assert person.score(service.address) == 80
    assert person.images(service.address) == []
    return person


def assert_drawn_and_paid(person: Person, service: Service) -> None:
    eventually(lambda: person.images(service.ready().address))
    (image,) = person.images(service.address)
    assert fetch(service.address, image["picture"]).status_code == 200
    assert person.score(service.address) == 80


def test_a_drawing_goes_on_when_the_service_dies_or_stops(
    folder: Path, database_url: str, painter: InferenceServer
) -> None:
    settings = {"database_url": database_url, "comfyui_urls": painter.url, **SOON}
    with Service(folder, **settings) as killed:
        ann = a_drawing_under_way("ann", killed, painter)
        killed.kill()
    with Service(folder, **settings) as stopped:
        assert_drawn_and_paid(ann, stopped)
        ben = a_drawing_under_way("ben", stopped, painter)
        assert stopped.stop() == 0
    with Service(folder, **settings) as successor:
        assert_drawn_and_paid(ben, successor)
        assert_drawn_and_paid(ann, successor)


def test_a_lost_drawing_is_drawn_again(folder: Path, database_url: str, painter: InferenceServer) -> None:
    settings = {"database_url": database_url, "comfyui_urls": painter.url, **SOON}
    with Service(folder, **settings) as killed:
        cat = a_drawing_under_way("cat", killed, painter)
        killed.kill()
    forgetful = painter.killed_and_restarted()
    with Service(folder, **settings) as successor:
        assert_drawn_and_paid(cat, successor)
    forgetful.kill()
