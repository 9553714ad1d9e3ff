"""`/metrics` for Prometheus, from any worker."""

import asyncio
from collections.abc import Mapping

import httpx
import msgspec
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.inference_client import (
    DrawingFailed,
    InferenceError,
    InvalidPicture,
    JobCancelled,
    JobLost,
    JobTimeout,
    OutcomeUnknown,
    ServerUnavailable,
    WorkflowRejected,
)
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.likes import LIKES
from huajuan.projections.registry import PROJECTIONS
from tests.http.conftest import ORDER, Person
from tests.http.keys import a_person
from tests.jobs.fake_server import FailingServer, FakeInferenceServer
from tests.jobs.outcome import BRISK
from tests.services import client_of, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Scrape(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """Values by name and labels; the worker's own name is left out."""

    def of(self, name: str, **labels: str) -> float:
        return self[name, frozenset(labels.items())]

    def names(self) -> set[str]:
        return {name for name, _ in self}


async def scrape(client: httpx.AsyncClient) -> Scrape:
    reply = await client.get("/metrics")
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain; version=")
    return Scrape(
        {
            (sample.name, _labels(sample.labels)): sample.value
            for family in text_string_to_metric_families(reply.text)
            for sample in family.samples
        }
    )


def _labels(labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset((name, value) for name, value in labels.items() if name != "worker")


async def test_every_projection_is_measured_and_each_worker_says_the_same(
    client: httpx.AsyncClient, person: Person, module_database_url: str
) -> None:
    await person(checked_in=True)
    async with client_of(module_database_url) as elsewhere:
        here, there = await scrape(client), await scrape(elsewhere)
    head = here.of("huajuan_log_position")
    assert head > 0
    for projection in PROJECTIONS:
        of = {"projection": projection.name, "version": str(projection.version)}
        for told in (here, there):
            assert told.of("huajuan_projection_position", **of) == head
            assert told.of("huajuan_projection_lag_events", **of) == 0
            assert told.of("huajuan_projection_lag_seconds", **of) == 0
            assert told.of("huajuan_projection_stopped", **of) == 0
            assert told.of("huajuan_rebuild_running", **of) == 0
    assert here.of("huajuan_projector_alive") == there.of("huajuan_projector_alive") == 1
    assert (here.of("huajuan_database_up"), here.of("huajuan_jobs_open")) == (1, 0)
    assert here.of("huajuan_points_unaccounted") == 0


async def test_requests_are_counted_by_route_and_not_by_path(client: httpx.AsyncClient) -> None:
    before = await scrape(client)
    for key in "ab":
        await client.get(f"/images/{key * 32}.png")
    await client.get("/no/such/path")
    await client.request("PROPFIND", "/no/such/path")
    after = await scrape(client)

    def more(name: str, **labels: str) -> float:
        return after.of(name, **labels) - before.get((name, frozenset(labels.items())), 0)

    total = "huajuan_http_requests_total"
    assert more(total, method="GET", route="/images/{key}", status="404") == 2
    assert more(total, method="GET", route="none", status="404") == 1
    assert more(total, method="other", route="none", status="404") == 1
    assert more(total, method="GET", route="/metrics", status="200") == 1
    assert more("huajuan_http_request_seconds_count", route="/images/{key}") == 2


async def test_a_stopped_projection_shows(client: httpx.AsyncClient, module_database_url: str) -> None:
    change = f"UPDATE operations.checkpoints SET stopped_at = %s WHERE projection = '{LIKES.schema}'"
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        connection.execute(change, (1,))
        told = await scrape(client)
        connection.execute(change, (None,))
    assert told.of("huajuan_projection_stopped", projection="likes", version="1") == 1
    assert told.of("huajuan_projection_stopped", projection="users", version="1") == 0


async def test_without_a_database_what_the_worker_knows_is_told(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(ReadTables, "all", away)
    told = await scrape(client)
    assert told.of("huajuan_database_up") == 0
    assert "huajuan_http_requests_total" in told.names()
    assert not any(name.startswith("huajuan_projection_") for name in told.names())


async def test_what_servers_draw_is_measured(database_url: str) -> None:
    refusing, good = FailingServer(WorkflowRejected("the server refused the workflow")), FakeInferenceServer()
    one_at_once = msgspec.structs.replace(BRISK, jobs_per_server_max=1)
    async with client_of(database_url, refusing, good, dispatch=one_at_once) as client:
        ann = await a_person(client, checked_in=True)
        for _ in range(2):
            assert (await client.post("/auth/generate", json=ORDER, headers=ann)).status_code == 200
        good.gate.clear()
        drawing = asyncio.create_task(client.post("/auth/generate", json=ORDER, headers=ann))
        await until(lambda: len(good.drawn) == 3)
        waiting = asyncio.create_task(client.post("/auth/generate", json=ORDER, headers=ann))
        async with asyncio.timeout(20):
            while (told := await scrape(client)).of("huajuan_queue_jobs_waiting") != 1:
                await asyncio.sleep(0.01)
        assert told.of("huajuan_queue_oldest_job_seconds") > 0
        assert told.of("huajuan_server_jobs_running", server="http://fake-1") == 1
        assert told.of("huajuan_drawings_total", server="http://fake-1", outcome="drawn") == 2
        assert told.of("huajuan_drawings_total", server="http://fake-0", outcome="refused") >= 0
        assert told.of("huajuan_drawing_seconds_count", server="http://fake-1") == 2
        assert told.of("huajuan_server_up", server="http://fake-0") == 1
        assert told.of("huajuan_server_cooldown", server="http://fake-0") == 0
        good.gate.set()
        assert {(await one).status_code for one in (drawing, waiting)} == {200}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (WorkflowRejected("no"), "refused"),
        (JobCancelled("stopped"), "cancelled"),
        (JobLost("restarted"), "lost"),
        (JobTimeout("hangs", worker_stuck=True), "timed_out"),
        (ServerUnavailable("down"), "unavailable"),
        (OutcomeUnknown("silence"), "unknown"),
        (DrawingFailed("CUDA error"), "failed"),
        (InvalidPicture("damaged"), "failed"),
    ],
)
async def test_how_a_drawing_ended_is_counted_by_kind(
    database_url: str, error: InferenceError, outcome: str
) -> None:
    host = FailingServer(error)
    async with client_of(database_url, host, dispatch=BRISK) as client:
        ann = await a_person(client, checked_in=True)
        drawing = asyncio.create_task(client.post("/auth/generate", json=ORDER, headers=ann))
        name = ("huajuan_drawings_total", frozenset({("server", "http://fake-0"), ("outcome", outcome)}))
        async with asyncio.timeout(20):
            while (await scrape(client)).get(name, 0) < 1:
                await asyncio.sleep(0.01)
        drawing.cancel()
