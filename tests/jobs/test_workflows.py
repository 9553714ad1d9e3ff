"""Workflows are kept by digest, recorded with every picture, and a job is drawn by the one it was asked with."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog
from structlog.testing import capture_logs

from huajuan.domain.image import Image
from huajuan.event_store.errors import LogUnavailable
from huajuan.http.services import Desk
from huajuan.inference_client import (
    DrawingFailed,
    Graph,
    OutcomeUnknown,
    text_to_image,
)
from huajuan.jobs.limits import DispatchLimits
from huajuan.jobs.workflows import (
    REMEMBERED_MAX,
    Workflows,
    WorkflowUnusable,
    keep_at_start,
    kept,
    read_workflow,
)
from huajuan.postgres.statements import Statements
from tests.commands.people import a_person, a_picture
from tests.inference_client.own_workflows import own_workflow, with_input
from tests.jobs.fake_host import FakeHost
from tests.services import desk_on, until

HASTY = DispatchLimits(fitting_pause_seconds=0.01, fitting_pause_seconds_max=0.02)
SHORT = DispatchLimits(lease_seconds=0.2, heartbeat_seconds=3600, claim_every_seconds=0.05)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A workflow's file as an editor might lay it out."""
    place = tmp_path / "own.json"
    place.write_text(json.dumps(dict(reversed(own_workflow().items())), indent=3), encoding="utf-8-sig")
    return place


def _write(file: Path, workflow: Graph) -> None:
    file.write_text(json.dumps(workflow))


async def image_of(desk: Desk, host: FakeHost) -> Image:
    image = await desk.store.find(Image, host.drawn[0].prompt_id)
    assert image
    return image


def rows(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(statement.encode()).fetchall()


async def test_what_drew_a_picture_is_on_record(database_url: str, file: Path) -> None:
    host = FakeHost()
    async with desk_on(database_url, host, workflow=str(file)) as desk:
        await a_picture(desk, await a_person(desk, check_ins=1))
        image = await image_of(desk, host)
    assert host.drawn[0].workflow == own_workflow()
    assert (image.workflow, image.checkpoint, image.painter) == (
        kept(own_workflow()).digest,
        "first.safetensors",
        "fake 1.0",
    )
    ((document,),) = rows(
        database_url, f"SELECT document FROM operations.workflows WHERE digest = '{image.workflow}'"
    )
    assert json.loads(document) == own_workflow()


async def test_the_built_in_one_is_kept_as_well(database_url: str) -> None:
    async with desk_on(database_url) as desk:
        assert desk.room.workflows.current == kept(text_to_image()).digest
    assert rows(database_url, "SELECT count(*) FROM operations.workflows") == [(1,)]


async def test_a_job_is_drawn_by_the_workflow_it_was_asked_with(database_url: str, file: Path) -> None:
    before, after = FakeHost(), FakeHost()
    before.gate.clear()
    async with desk_on(database_url, before, dispatch=SHORT, workflow=str(file)) as desk:
        waiting = asyncio.create_task(a_picture(desk, await a_person(desk, check_ins=1)))
        await until(lambda: bool(before.drawn))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    after.known |= before.known
    async with desk_on(database_url, after, dispatch=SHORT) as desk:
        assert desk.room.workflows.current == kept(text_to_image()).digest
        await until(lambda: bool(after.finished))
    assert after.finished[0].workflow == own_workflow()


async def test_a_workflow_kept_before_is_found_by_its_name(database_url: str, file: Path) -> None:
    async with desk_on(database_url, workflow=str(file)):
        pass
    name = keep_at_start(database_url, str(file))
    assert name == f"sha256:{kept(own_workflow()).digest}" == keep_at_start(database_url, name)
    os.unlink(file)
    host = FakeHost()
    async with desk_on(database_url, host, workflow=name) as desk:
        await a_picture(desk, await a_person(desk, check_ins=1))
    assert host.drawn[0].workflow == own_workflow()
    with pytest.raises(WorkflowUnusable, match="no workflow of this digest is kept"):
        keep_at_start(database_url, "sha256:" + "0" * 64)


async def test_what_is_wrong_with_one_kept_before_is_told_as_of_a_file(database_url: str) -> None:
    twice = own_workflow()
    twice["8"] = twice["7"]
    async with desk_on(database_url):
        pass
    with psycopg.connect(database_url) as connection:
        statement = "INSERT INTO operations.workflows (digest, document) VALUES (%s, %s)"
        connection.execute(statement, kept(twice))
    with pytest.raises(WorkflowUnusable, match=r"node 7 \(SaveImage\) and node 8 \(SaveImage\) both name"):
        keep_at_start(database_url, f"sha256:{kept(twice).digest}")


async def test_remarks_on_the_workflow_are_told_at_the_start(
    database_url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huajuan.jobs.workflows._logger", structlog.get_logger())
    _write(file, with_input("4", batch_size=3))
    async with logging() as logs, desk_on(database_url, workflow=str(file)) as desk:
        assert desk.room.workflows.not_applied == ["steps", "sampling_method"]
    (told,) = [line["remarks"] for line in logs if "remarks" in line]
    assert told[0].endswith("input batch_size: 3 pictures are drawn at once, the first alone is taken")
    async with logging() as logs, desk_on(database_url) as desk:
        assert desk.room.workflows.not_applied == []
    assert not [line for line in logs if "remarks" in line]


async def test_a_job_whose_workflow_is_lost_is_not_drawn_and_not_paid(database_url: str) -> None:
    async with desk_on(database_url) as desk:
        desk.room.workflows.current = "ab" * 32
        ending = await a_picture(desk, await a_person(desk, check_ins=1))
        assert (ending.picture, ending.reason, ending.balance) == (
            None,
            "its workflow is not kept any more",
            100,
        )


def test_a_digest_stands_for_its_content_alone(database_url: str, file: Path) -> None:
    async def open_once() -> None:
        async with desk_on(database_url, workflow=str(file)):
            pass

    asyncio.run(open_once())
    with pytest.raises(psycopg.errors.CheckViolation):
        rows(database_url, "UPDATE operations.workflows SET document = '{}'")


def test_layout_and_order_do_not_make_another_workflow(file: Path) -> None:
    assert kept(read_workflow(str(file))) == kept(own_workflow())
    assert kept(with_input("5", steps=7)).digest != kept(own_workflow()).digest
    assert (
        kept(with_input("5", cfg=7.0)).digest != kept(own_workflow()).digest
    )  # whatever a server makes of it


@asynccontextmanager
async def logging() -> AsyncIterator[list[Any]]:
    with capture_logs() as logs:
        yield logs


class Shelf(Statements):
    """Says what a database would, and counts how often it is asked."""

    def __init__(self, *documents: str) -> None:
        self.documents = documents
        self.asked = 0

    async def run(self, statement: str, values: Any = None) -> list[tuple[Any, ...]]:
        self.asked += 1
        return [(document,) for document in self.documents]


async def test_a_bounded_number_is_remembered() -> None:
    shelf = Shelf(kept(own_workflow()).document)
    workflows = Workflows(shelf, "now", text_to_image())
    for number in range(3 * REMEMBERED_MAX):
        assert await workflows.find(f"{number}") == own_workflow()
        assert await workflows.find(f"{number}") == own_workflow()
    assert shelf.asked == 3 * REMEMBERED_MAX
    assert len(workflows._remembered) == REMEMBERED_MAX
    assert await workflows.find("now") == await workflows.find("") == text_to_image()
    with pytest.raises(DrawingFailed):
        await Workflows(Shelf()).find("gone")


async def test_a_silent_database_is_no_reason_to_give_a_job_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*_: object) -> None:
        raise LogUnavailable

    shelf = Shelf()
    monkeypatch.setattr(shelf, "run", silent)
    with pytest.raises(OutcomeUnknown):
        await Workflows(shelf).find("ab")
