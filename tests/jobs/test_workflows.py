"""The workflow store: workflows by digest, recorded with each request."""

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
from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.http.services import Services
from huajuan.inference_client import (
    DrawingFailed,
    Graph,
    OutcomeUnknown,
    text_to_image,
)
from huajuan.jobs.queue import DispatchLimits
from huajuan.jobs.workflows import (
    CACHED_MAX,
    WorkflowStore,
    WorkflowUnusable,
    canonical,
    read_workflow,
    store_workflow_blocking,
)
from huajuan.postgres.statements import Statements
from tests.commands.people import a_person, a_picture
from tests.inference_client.own_workflows import own_workflow, with_input
from tests.jobs.fake_server import FakeInferenceServer
from tests.services import services_on, until

HASTY = DispatchLimits(compatibility_retry_seconds=0.01, compatibility_retry_seconds_max=0.02)
SHORT = DispatchLimits(lease_seconds=0.2, heartbeat_seconds=3600, claim_interval_seconds=0.05)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A workflow file in an editor's layout."""
    place = tmp_path / "own.json"
    place.write_text(json.dumps(dict(reversed(own_workflow().items())), indent=3), encoding="utf-8-sig")
    return place


def _write(file: Path, workflow: Graph) -> None:
    file.write_text(json.dumps(workflow))


async def image_of(services: Services, host: FakeInferenceServer) -> Image:
    image = await services.store.find(Image, host.drawn[0].prompt_id)
    assert image
    return image


def rows(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(statement.encode()).fetchall()


async def test_workflow_checkpoint_and_version_are_recorded(database_url: str, file: Path) -> None:
    host = FakeInferenceServer()
    async with services_on(database_url, host, workflow=str(file)) as services:
        await a_picture(services, await a_person(services, check_ins=1))
        image = await image_of(services, host)
    assert host.drawn[0].workflow == own_workflow()
    assert (image.workflow, image.checkpoint, image.painter) == (
        canonical(own_workflow()).digest,
        "first.safetensors",
        "fake 1.0",
    )
    ((document,),) = rows(
        database_url, f"SELECT document FROM operations.workflows WHERE digest = '{image.workflow}'"
    )
    assert json.loads(document) == own_workflow()


async def test_the_built_in_workflow_is_stored(database_url: str) -> None:
    async with services_on(database_url) as services:
        assert services.job_runner.workflows.current == canonical(text_to_image()).digest
    assert rows(database_url, "SELECT count(*) FROM operations.workflows") == [(1,)]


async def test_a_job_uses_the_workflow_of_its_request(database_url: str, file: Path) -> None:
    before, after = FakeInferenceServer(), FakeInferenceServer()
    before.gate.clear()
    async with services_on(database_url, before, dispatch=SHORT, workflow=str(file)) as services:
        waiting = asyncio.create_task(a_picture(services, await a_person(services, check_ins=1)))
        await until(lambda: bool(before.drawn))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    after.known |= before.known
    async with services_on(database_url, after, dispatch=SHORT) as services:
        assert services.job_runner.workflows.current == canonical(text_to_image()).digest
        await until(lambda: bool(after.finished))
    assert after.finished[0].workflow == own_workflow()


async def test_a_stored_workflow_is_found_by_its_digest(database_url: str, file: Path) -> None:
    async with services_on(database_url, workflow=str(file)):
        pass
    name = store_workflow_blocking(database_url, str(file))
    assert name == f"sha256:{canonical(own_workflow()).digest}" == store_workflow_blocking(database_url, name)
    os.unlink(file)
    host = FakeInferenceServer()
    async with services_on(database_url, host, workflow=name) as services:
        await a_picture(services, await a_person(services, check_ins=1))
    assert host.drawn[0].workflow == own_workflow()
    with pytest.raises(WorkflowUnusable, match="no workflow of this digest is stored"):
        store_workflow_blocking(database_url, "sha256:" + "0" * 64)


async def test_an_unusable_stored_workflow_is_reported(database_url: str) -> None:
    twice = own_workflow()
    twice["8"] = twice["7"]
    async with services_on(database_url):
        pass
    with psycopg.connect(database_url) as connection:
        statement = "INSERT INTO operations.workflows (digest, document) VALUES (%s, %s)"
        connection.execute(statement, canonical(twice))
    with pytest.raises(WorkflowUnusable, match=r"node 7 \(SaveImage\) and node 8 \(SaveImage\) both name"):
        store_workflow_blocking(database_url, f"sha256:{canonical(twice).digest}")


async def test_workflow_warnings_are_logged_at_the_start(
    database_url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huajuan.jobs.workflows._logger", structlog.get_logger())
    _write(file, with_input("4", batch_size=3))
    async with logging() as logs, services_on(database_url, workflow=str(file)) as services:
        assert services.job_runner.workflows.not_applied == ["steps", "sampling_method"]
    (told,) = [line["warnings"] for line in logs if "warnings" in line]
    assert told[0].endswith("input batch_size: 3 pictures are drawn at once, the first alone is taken")
    async with logging() as logs, services_on(database_url) as services:
        assert services.job_runner.workflows.not_applied == []
    assert not [line for line in logs if "remarks" in line]


async def test_a_job_whose_workflow_is_lost_is_not_drawn_and_not_paid(database_url: str) -> None:
    async with services_on(database_url) as services:
        services.job_runner.workflows.current = "ab" * 32
        ending = await a_picture(services, await a_person(services, check_ins=1))
        assert (ending.picture, ending.reason, ending.balance) == (
            None,
            "its workflow is not kept any more",
            100,
        )


def test_a_digest_identifies_the_content(database_url: str, file: Path) -> None:
    async def open_once() -> None:
        async with services_on(database_url, workflow=str(file)):
            pass

    asyncio.run(open_once())
    with pytest.raises(psycopg.errors.CheckViolation):
        rows(database_url, "UPDATE operations.workflows SET document = '{}'")


def test_layout_and_order_do_not_make_another_workflow(file: Path) -> None:
    assert canonical(read_workflow(str(file))) == canonical(own_workflow())
    assert canonical(with_input("5", steps=7)).digest != canonical(own_workflow()).digest
    assert (
        canonical(with_input("5", cfg=7.0)).digest != canonical(own_workflow()).digest
    )  # even if a server treats 7 and 7.0 alike


@asynccontextmanager
async def logging() -> AsyncIterator[list[Any]]:
    with capture_logs() as logs:
        yield logs


class Shelf(Statements):
    """A fake database that counts its queries."""

    def __init__(self, *documents: str) -> None:
        self.documents = documents
        self.asked = 0

    async def run(self, statement: str, values: Any = None, *, prepare: bool = True) -> list[Any]:
        self.asked += 1
        return [(document,) for document in self.documents]


async def test_the_cache_of_workflows_is_bounded() -> None:
    shelf = Shelf(canonical(own_workflow()).document)
    workflows = WorkflowStore(shelf, "now", text_to_image())
    for number in range(3 * CACHED_MAX):
        assert await workflows.find(f"{number}") == own_workflow()
        assert await workflows.find(f"{number}") == own_workflow()
    assert shelf.asked == 3 * CACHED_MAX
    assert len(workflows._cache) == CACHED_MAX
    assert await workflows.find("now") == await workflows.find("") == text_to_image()
    with pytest.raises(DrawingFailed):
        await WorkflowStore(Shelf()).find("gone")


async def test_a_database_outage_does_not_fail_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*_: object) -> None:
        raise DatabaseUnavailable

    shelf = Shelf()
    monkeypatch.setattr(shelf, "run", silent)
    with pytest.raises(OutcomeUnknown):
        await WorkflowStore(shelf).find("ab")
