"""Probes and metrics of a worker."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

from litestar import Request, Response
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from huajuan.event_store.errors import DatabaseFailure
from huajuan.event_store.store import EventStore
from huajuan.http import messages
from huajuan.http.errors import BUSY
from huajuan.http.middleware.request_metrics import WorkerMetrics
from huajuan.http.openapi.operations import operation
from huajuan.http.openapi.responses import MessageResponse
from huajuan.http.openapi.schemas import BALANCED, DEGRADED, READY, UNKNOWN, UNREADY
from huajuan.http.services import Services
from huajuan.jobs.queue import QueueMetrics
from huajuan.jobs.runner import JobRunner
from huajuan.projections.engine.checkpoints import AHEAD_OF_LOG, CheckpointLag, checkpoint_lags
from huajuan.projections.engine.runner import Projector
from huajuan.projections.engine.status import LogCounts, ProjectionStatus, log_counts, projection_statuses
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.queries.points import PointsAudit
from huajuan.projections.registry import PROJECTIONS
from huajuan.runtime.health import HealthChecks, Problem
from huajuan.runtime.periodic import periodic
from huajuan.settings import Settings

QUERY_SECONDS_MAX = 2.0


class ReadyResponse(MessageResponse, kw_only=True):
    """Whether the database answers, whether all points add up, and how far each read table is behind the log.

    `status` is `ready`, `degraded` (200: something is wrong, requests are served) or `unready` (503).
    `drawing` is false while no inference server answers, which is a problem after some seconds.
    """

    status: str
    database: bool
    points: str
    drawing: bool
    problems: list[Problem]
    projections: dict[str, CheckpointLag]


@operation("Operations", examples=[{"message": messages.SUCCEEDED}], is_probe=True)
async def health() -> MessageResponse:
    """This process responds."""
    return MessageResponse(code=200, message=messages.SUCCEEDED)


def _example(message: str, status: str, points: str, **changes: Any) -> dict[str, Any]:
    table = {
        "projection": "users_v1",
        "position": 9,
        "lag_events": 0,
        "lag_seconds": 0.0,
        "stopped_at": None,
        "stopped_by": None,
    }
    fields = {"database": True, "drawing": True, "problems": [], "projections": {"users_v1": table}}
    return {"message": message, "status": status, "points": points} | fields | changes


@operation(
    "Operations",
    success={
        200: (
            ReadyResponse,
            [
                _example(messages.SUCCEEDED, READY, BALANCED),
                _example(messages.UNBALANCED, DEGRADED, "unbalanced by 20"),
            ],
        ),
        503: (
            ReadyResponse,
            [_example(messages.BUSY, UNREADY, UNKNOWN, database=False, drawing=False, projections={})],
        ),
    },
    is_probe=True,
)
async def readiness(
    tables: ReadTables,
    projector: Projector,
    health: HealthChecks,
    points_audit: PointsAudit,
    job_runner: JobRunner,
    settings: Settings,
) -> Response[ReadyResponse]:
    """The database answers, and the read tables follow the log.

    Missing points are shown, but stop nothing.
    """
    found, unaccounted = await _checkpoints(tables, projector), points_audit.unaccounted
    problems = [*health.problems(), *_table_problems(found or (), settings)]
    is_ready = found is not None and projector.is_alive() and not any(each.blocking for each in problems)
    status = 200 if is_ready else 503
    reply = ReadyResponse(
        code=status,
        message=_message(is_ready, unaccounted),
        status=_status(is_ready, bool(problems or unaccounted)),
        database=found is not None,
        points=_points(unaccounted),
        drawing=len(job_runner.servers) > 0,
        problems=problems,
        projections={each.projection: each for each in found or ()},
    )
    return Response(reply, status_code=status, headers={} if is_ready else BUSY.headers)


def _message(is_ready: bool, unaccounted: int | None) -> str:
    if not is_ready:
        return messages.BUSY
    return messages.UNBALANCED if unaccounted else messages.SUCCEEDED


def _status(is_ready: bool, has_problems: bool) -> str:
    if not is_ready:
        return UNREADY
    return DEGRADED if has_problems else READY


def _points(unaccounted: int | None) -> str:
    """Whether the points of all accounts add up."""
    if unaccounted is None:
        return UNKNOWN
    return f"unbalanced by {unaccounted}" if unaccounted else BALANCED


def _table_problems(found: Iterable[CheckpointLag], settings: Settings) -> Iterator[Problem]:
    """Problems of optional tables make the service degraded, those of others unready."""
    optional = {p.schema for p in PROJECTIONS if p.name in settings.readyz_optional_tables}
    for checkpoint in found:
        table, blocking = checkpoint.projection, checkpoint.projection not in optional
        if checkpoint.lag_events < 0 or checkpoint.stopped_by == AHEAD_OF_LOG:
            detail = f"{table} has folded events that the log has lost: run `huajuan rebuild`."
            yield Problem("read_table_ahead", detail, blocking)
        elif checkpoint.stopped_at is not None:
            detail = f"{table} stopped at position {checkpoint.stopped_at}: {checkpoint.stopped_by}."
            yield Problem("read_table_stopped", detail, blocking)
        elif checkpoint.lag_seconds > settings.lag_seconds_max:
            detail = f"{table} is {checkpoint.lag_events} events behind and has not moved for some time."
            yield Problem("read_table_behind", detail, blocking)


async def _checkpoints(tables: ReadTables, projector: Projector) -> list[CheckpointLag] | None:
    """`None` if the database does not answer in time."""
    try:
        async with asyncio.timeout(QUERY_SECONDS_MAX):
            return await checkpoint_lags(tables, projector.projections)
    except (TimeoutError, DatabaseFailure):
        return None


REFRESH_SECONDS = 5.0
EXAMPLE = """# HELP huajuan_projection_lag_events Events that wait to be folded.
# TYPE huajuan_projection_lag_events gauge
huajuan_projection_lag_events{projection="history",version="1"} 0.0
"""
_OF_PROJECTION = {
    "position": "The position in the log that the read table shows.",
    "lag_events": "Events that wait to be folded.",
    "lag_seconds": "For how long the projection has not moved while events waited.",
    "events_per_second": "How fast it has been folding, smoothed.",
    "stopped": "1 while an event that cannot be folded stops the projection.",
    "skips": "Events that an admin had it leave out.",
}
_OF_REBUILD = {
    "running": "1 while the read table is being rebuilt.",
    "progress_ratio": "How much of the log its last rebuild has read.",
    "events_per_second": "How fast its last rebuild reads.",
}


@operation(
    "Operations",
    media_type="text/plain",
    responses={
        200: ResponseSpec(
            str,
            description="Prometheus text.",
            media_type="text/plain",
            generate_examples=False,
            examples=[Example(summary="One gauge of many", value=EXAMPLE)],
        )
    },
    is_probe=True,
)
async def metrics(
    request: Request[Any, Any, Any],
    tables: ReadTables,
    store: EventStore,
    projector: Projector,
    points_audit: PointsAudit,
    job_runner: JobRunner,
) -> Response[bytes]:
    """Metrics for Prometheus, of all workers of this server and of the database."""
    state = request.app.state
    worker_metrics: WorkerMetrics = state.metrics
    refresh(worker_metrics, state.services)
    up = _gauge("huajuan_database_up", "1 while the database answers.")
    families: list[Metric] = []
    try:
        async with asyncio.timeout(QUERY_SECONDS_MAX):
            found = await projection_statuses(tables, store.stream_ids, projector.projections)
            families += _of_database(await log_counts(tables), points_audit.unaccounted)
            families += _of_queue(await job_runner.queue.read_metrics(), job_runner.servers.all)
            families += [*_of_projections(found), *_of_rebuilds(found)]
    except (TimeoutError, DatabaseFailure):
        families = []
    up.add_metric([], bool(families))
    content = worker_metrics.exposition() + generate_latest(_registry([up, *families]))
    return Response(content, media_type=CONTENT_TYPE_LATEST)


def refresh(metrics: WorkerMetrics, services: Services) -> None:
    """Set the gauges of this worker to its present state."""
    metrics.refresh_servers(services.job_runner.servers.all.values())
    metrics.refresh(
        projector_alive=services.projector.is_alive(),
        problems=services.health.problems(),
        remembered=services.response_cache.hits,
        clock_behind_seconds=services.store.event_clock.behind_seconds(),
    )


async def run_metrics_refresh(metrics: WorkerMetrics, services: Services) -> None:
    """Refresh for ever: other workers show the gauges of this one as they were last set."""

    async def refresh_gauges() -> None:
        refresh(metrics, services)

    await periodic("refresh metrics", refresh_gauges, REFRESH_SECONDS)


def _of_database(counted: LogCounts, unaccounted: int | None) -> list[Metric]:
    values = {
        "huajuan_log_position": ("The log's last position.", counted.log_position),
        "huajuan_jobs_open": ("Pictures that are being drawn.", counted.jobs_open),
        "huajuan_points_unaccounted": ("Points granted that are nowhere; must be 0.", unaccounted),
    }
    families: list[Metric] = []
    for name, (text, value) in values.items():
        family = _gauge(name, text)
        if value is not None:
            family.add_metric([], value)
        families.append(family)
    return families


def _of_queue(queue: QueueMetrics, servers: Iterable[str]) -> list[Metric]:
    waiting = _gauge("huajuan_queue_jobs_waiting", "Jobs that no inference server has yet.")
    waiting.add_metric([], queue.waiting)
    oldest = _gauge(
        "huajuan_queue_oldest_job_seconds", "For how long the oldest of them has waited; 0 without any."
    )
    oldest.add_metric([], queue.oldest_seconds)
    running = _gauge("huajuan_server_jobs_running", "Jobs that an inference server has in hand.", ["server"])
    for server in sorted({*servers, *queue.running}):
        running.add_metric([server], queue.running.get(server, 0))
    return [waiting, oldest, running]


def _of_projections(found: Iterable[ProjectionStatus]) -> list[Metric]:
    families = _each("huajuan_projection", _OF_PROJECTION)
    for status in found:
        values = {
            "position": status.position,
            "lag_events": status.lag_events,
            "lag_seconds": status.lag_seconds,
            "events_per_second": status.events_per_second,
            "stopped": status.stopped_at is not None,
            "skips": len(status.skips),
        }
        for name, family in families.items():
            family.add_metric([status.name, str(status.version)], values[name])
    return list(families.values())


def _of_rebuilds(found: Iterable[ProjectionStatus]) -> list[Metric]:
    families = _each("huajuan_rebuild", _OF_REBUILD)
    for status in found:
        last = status.last_rebuild
        values = {"running": float(status.rebuilding)}
        if last and last.position is not None and last.head:
            values |= {"progress_ratio": last.position / last.head}
        if last and last.events_per_second is not None:
            values |= {"events_per_second": last.events_per_second}
        for name, value in values.items():
            families[name].add_metric([status.name, str(status.version)], value)
    return list(families.values())


def _each(prefix: str, texts: dict[str, str]) -> dict[str, GaugeMetricFamily]:
    return {name: _gauge(f"{prefix}_{name}", text, ["projection", "version"]) for name, text in texts.items()}


def _gauge(name: str, text: str, labels: Iterable[str] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=list(labels))


class _FilledFamilies(Collector):
    """Metric families whose values are already set."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _registry(families: Iterable[Metric]) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_FilledFamilies(families))
    return registry
