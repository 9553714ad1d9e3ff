"""`redraw`: draws a recorded picture again over real HTTP; costs no points and writes nothing to the log."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from PIL import Image as Pixels

from huajuan.cli.main import run
from huajuan.commands.erase_account import erase_account
from huajuan.commands.generate_image import generate_image
from huajuan.commands.operations import add_inference_server, remove_inference_server
from huajuan.demo_comfyui import app, execution
from huajuan.demo_comfyui.landscape import paint
from huajuan.demo_comfyui.nodes import NODES
from huajuan.http.services import Services
from huajuan.runtime.logs import configure_logs
from huajuan.server.database import create_tables
from tests.cli.conftest import Ran
from tests.cli.workshop import Workshop
from tests.commands.people import SUN, a_person
from tests.database import eventually
from tests.event_store.helpers import log_rows
from tests.inference_client.conftest import RunningDemo
from tests.server.service import CHECKOUT, PATIENCE_SECONDS, environment

SAID = "0.33.0-demo-painter at {url} with demo-painter (no model).safetensors\n"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningDemo]:
    running = RunningDemo()
    yield running
    running.close()


@pytest.fixture
def workshop(
    database_url: str,
    tmp_path: Path,
    running: RunningDemo,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Workshop]:
    def typed(given: dict[str, object], *arguments: str) -> Ran:
        monkeypatch.setattr("os.environ", environment(**given))
        monkeypatch.setattr("sys.argv", ["huajuan", *arguments])
        capsys.readouterr()
        return Ran(run(), *capsys.readouterr())

    create_tables(database_url)
    running.reset()
    yield Workshop(database_url, tmp_path, running, typed)
    configure_logs(readable=True)


def one_dot_off(painting: Callable[..., Pixels.Image]) -> Callable[..., Pixels.Image]:
    def painted(*arguments: Any) -> Pixels.Image:
        picture = painting(*arguments)
        red, green, blue = picture.getpixel((9, 9))[:3]  # type: ignore[index]
        picture.putpixel((9, 9), (red, green, blue ^ 4))
        return picture

    return painted


def test_an_equal_picture_is_reported_and_nothing_is_written(workshop: Workshop) -> None:
    drawn = workshop.draw()
    before = log_rows(workshop.dsn, "topic")
    workshop.painter.reset()  # the server has no result of the first drawing
    ran = workshop.redraw(drawn.id)
    assert (ran.status, ran.out) == (
        0,
        "equal: all 44,000 pixels; drawn again by " + SAID.format(url=workshop.painter.url),
    )
    assert ran.err == f"drawing {drawn.image_id} again, 220x200 pixels in the workflow's own steps\n"
    assert log_rows(workshop.dsn, "topic") == before


def test_recorded_parameters_override_current_settings(workshop: Workshop) -> None:
    drawn = workshop.draw()
    workshop.given["checkpoint"] = "gone.safetensors"
    workshop.given["workflow"] = workshop.folder / "gone.json"
    assert workshop.redraw(drawn.id).status == 0


@pytest.mark.parametrize(
    "name", ["{hex}", "{uuid}", "{UUID}", "http://x:1/images/{hex}.png", "/images/{hex}.png?a=b"]
)
def test_a_picture_has_many_names(workshop: Workshop, name: str) -> None:
    drawn = workshop.draw()
    hexadecimal, uuid = drawn.image_id.hex, str(drawn.image_id)
    assert workshop.redraw(name.format(hex=hexadecimal, uuid=uuid, UUID=uuid.upper())).status == 0


def test_a_different_picture_is_measured_and_stored(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = workshop.draw()
    workshop.painter.reset()
    monkeypatch.setattr(execution, "paint", one_dot_off(paint))
    ran = workshop.redraw(drawn.id, "--save", workshop.folder / "new.png")
    assert ran.status == 2
    assert ran.out.startswith(
        "different: 1 of 44,000 pixels, by 4 of 255 at most; drawn again by 0.33.0-demo"
    )
    with Pixels.open(workshop.folder / "new.png") as new, Pixels.open(drawn.file) as old:
        assert new.size == old.size == (220, 200)
        assert new.getpixel((7, 9)) != old.getpixel((7, 9)), "2 of the 4 pixels too many are cut on the left"


def test_a_picture_with_former_size_steps_is_redrawn(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = workshop.draw()
    workshop.painter.reset()
    kind = NODES["EmptyLatentImage"]
    sides = {side: msgspec.structs.replace(kind.inputs[side], step=64) for side in ("width", "height")}
    wider = msgspec.structs.replace(kind, inputs=kind.inputs | sides)
    monkeypatch.setitem(NODES, "EmptyLatentImage", wider)
    ran = workshop.redraw(drawn.id)
    assert (ran.status, ran.out[:6]) == (0, "equal:")
    assert workshop.painter.demo.jobs.runs.total() == 2
    later = workshop.draw()
    workshop.painter.reset()
    assert workshop.redraw(later.id).status == 0
    assert workshop.painter.demo.jobs.runs.total() == 1


def test_an_unwritable_file_prevents_the_drawing(workshop: Workshop) -> None:
    drawn = workshop.draw()
    for name in ("", workshop.folder, workshop.folder / "missing" / "new.png"):
        ran = workshop.redraw(drawn.id, "--save", name)
        assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1), ran.err
        assert "drawing" not in ran.err


def test_changed_circumstances_are_reported(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = workshop.draw()
    monkeypatch.setattr(app, "VERSION", "0.34.0")
    ran = workshop.redraw(drawn.id, "--json")
    assert ran.status == 0
    told = "server version is 0.34.0, was 0.33.0-demo-painter"
    assert f"drawn differently: {told}\n" in ran.err
    found = json.loads(ran.out)
    assert (found["equal"], found["pixels_differing"], found["otherwise"]) == (True, 0, [told])


def test_the_most_similar_server_is_used(workshop: Workshop) -> None:
    drawn = workshop.draw()
    workshop.given["comfyui_urls"] = f"http://127.0.0.1:1,{workshop.painter.url}"
    assert workshop.redraw(drawn.id).status == 0


def test_an_old_picture_has_no_workflow_on_record(workshop: Workshop) -> None:
    drawn = workshop.draw(on_record=False)
    ran = workshop.redraw(drawn.id)
    assert ran.status == 0
    assert "no workflow is on record, so the built-in one was taken\n" in ran.err


def test_without_a_server_the_demo_comfyui_is_started(workshop: Workshop) -> None:
    drawn = workshop.draw()
    del workshop.given["comfyui_urls"]
    assert workshop.redraw(drawn.id).status == 0


@pytest.mark.parametrize("name", ["sun", "-", "f" * 33, "1.5", "9" * 30])
def test_an_argument_that_is_no_picture_is_rejected(workshop: Workshop, name: str) -> None:
    ran = workshop.redraw("--", name)
    assert (ran.status, ran.out, ran.err) == (
        1,
        "",
        f"huajuan: {name} is not a picture's id, address or UUID\n",
    )


@pytest.mark.parametrize("name", ["1", "999999", str(UUID(int=7))])
def test_a_missing_picture_is_reported(workshop: Workshop, name: str) -> None:
    workshop.draw()
    ran = workshop.redraw(name)
    assert (ran.status, ran.out, ran.err) == (1, "", "huajuan: not redrawn: there is no such image\n")


def fails(workshop: Workshop, image: object, why: str) -> None:
    ran = workshop.redraw(image)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.splitlines()[-1] == f"huajuan: {why}"


def test_a_picture_that_was_never_drawn(workshop: Workshop) -> None:
    image_id = uuid4()

    async def ask(services: Services) -> None:
        services.job_runner.workflows.current = "ab" * 32
        await generate_image(services.job_runner, await a_person(services, check_ins=1), image_id, SUN, 30)

    workshop.at_desk(ask)
    fails(workshop, image_id, "not redrawn: it was never drawn: its workflow is not kept any more")


def test_a_picture_whose_owner_was_erased(workshop: Workshop) -> None:
    drawn = workshop.draw()
    workshop.at_desk(lambda services: erase_account(services.store, services.erasures, drawn.account_id))
    fails(workshop, drawn.id, "not redrawn: its owner was erased, and nobody can read the prompt any more")


def test_a_picture_with_a_missing_or_changed_file(workshop: Workshop) -> None:
    drawn = workshop.draw()
    drawn.file.write_bytes(drawn.file.read_bytes() + b"x")
    key = drawn.file.name
    fails(workshop, drawn.id, f"the stored picture {key} differs from the record: it has another SHA-256")
    drawn.file.unlink()
    fails(workshop, drawn.id, f"the stored picture {key} is missing: there is nothing to compare with")


def test_a_server_that_is_down(workshop: Workshop) -> None:
    drawn = workshop.draw()
    workshop.given["comfyui_urls"] = "http://127.0.0.1:1"
    fails(workshop, drawn.id, "not redrawn: no inference server could be reached")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_cancels_the_drawing(workshop: Workshop, number: signal.Signals) -> None:
    drawn = workshop.draw()
    workshop.painter.reset()
    workshop.painter.slow_down(0.5)
    command = [sys.executable, "-P", "-m", "huajuan", "redraw", str(drawn.id)]
    stopped = subprocess.Popen(
        command, env=environment(**workshop.given), cwd=CHECKOUT, stderr=subprocess.PIPE
    )
    eventually(lambda: workshop.painter.demo.jobs.running)
    stopped.send_signal(number)
    _, said = stopped.communicate(timeout=PATIENCE_SECONDS)
    assert (stopped.returncode, b"Traceback" in said) == (130, False)
    eventually(lambda: not workshop.painter.demo.jobs.remaining())


def test_servers_of_admins_override_the_setting(workshop: Workshop) -> None:
    drawn, url = workshop.draw(), workshop.painter.url
    workshop.at_desk(lambda services: remove_inference_server(services.store, url, [url], "broken"))
    ran = workshop.redraw(drawn.id)
    assert ran.status != 0
    assert "an admin has removed all servers of HUAJUAN_COMFYUI_URLS" in ran.err
    workshop.given["comfyui_urls"] = "http://127.0.0.1:9"
    workshop.at_desk(
        lambda services: add_inference_server(services.store, url, ["http://127.0.0.1:9"], "mended")
    )
    again = workshop.redraw(drawn.id)
    assert (again.status, url in again.out) == (0, True)


def test_an_address_that_is_no_comfyui_server(workshop: Workshop) -> None:
    drawn = workshop.draw()
    workshop.given["comfyui_urls"] = f"http://127.0.0.1:1,{workshop.painter.url}/nothing/here"
    why = "not redrawn: no inference server could be reached: no ComfyUI answers at this address"
    fails(workshop, drawn.id, why)
