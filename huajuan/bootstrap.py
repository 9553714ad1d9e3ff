"""The composition root: builds the services of a worker process from the settings."""

import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from litestar.types import ASGIApp
from psycopg_pool import AsyncConnectionPool

from huajuan.audit.stream_gaps import GapWatch
from huajuan.auth.passwords import Passwords
from huajuan.auth.rate_limits import LoginAttempts, RegistrationAttempts
from huajuan.auth.sessions import CHANNEL, Sessions, Tokens
from huajuan.commands.erase_account import ErasureJob, run_erasure_jobs
from huajuan.commands.images import run_avatar_sweeps, run_picture_sweeps
from huajuan.domain.account import PersonalData
from huajuan.event_store.store import ERASURES_CHANNEL as ERASURES
from huajuan.event_store.store import EventStore, open_event_store
from huajuan.event_store.writer import run_write_probe
from huajuan.http.app import create_app
from huajuan.http.audit_pool import AuditPool
from huajuan.http.generation_status import JobViews
from huajuan.http.services import ReadYourWrites, Services
from huajuan.http.sse_hub import SseHub
from huajuan.idempotency.service import Idempotency, IdempotencyKeys
from huajuan.inference_client import ClientLimits
from huajuan.jobs.dispatcher import Dispatcher, dispatching
from huajuan.jobs.queue import QUEUE_CHANNEL, DispatchLimits, JobQueue
from huajuan.jobs.runner import JobRunner
from huajuan.jobs.server_origins import OriginLogger
from huajuan.jobs.servers import ServerPool, open_server_pool
from huajuan.jobs.workflows import WorkflowStore, open_workflow_store, run_compatibility_checks
from huajuan.postgres.connect import open_pool
from huajuan.postgres.statements import Statements
from huajuan.postgres.timelines import Timelines, timelines_folder
from huajuan.projections.engine.notifications import NotificationSubscriber
from huajuan.projections.engine.runner import Projector, open_projector
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.favorites import FAVORITES
from huajuan.projections.generations import GENERATIONS
from huajuan.projections.history import HISTORY
from huajuan.projections.likes import LIKES
from huajuan.projections.queries.accounts import find_personal_data, vacuum_personal_data
from huajuan.projections.queries.points import PointsAudit
from huajuan.projections.rebuild.process import RebuildProcesses
from huajuan.projections.rebuild.schemas import clean_up_rebuilds, maintain_versions
from huajuan.projections.registry import PROJECTIONS, SCHEMAS
from huajuan.response_cache.cache import ResponseCache
from huajuan.response_cache.versions import CacheVersions, open_versions_file, private_versions
from huajuan.runtime.health import HealthChecks
from huajuan.runtime.logs import configure_logs
from huajuan.runtime.periodic import periodic, running
from huajuan.runtime.shutdown import exit_with_parent, notify_on_shutdown
from huajuan.server.limits import ServiceLimits, limits_of
from huajuan.server.server_leases import (
    RENEW_SECONDS,
    ServerIdentity,
    ServerLease,
    identity_from_environment,
    make_server_identity,
)
from huajuan.settings import INTERNAL_PREFIX, Settings, from_environment
from huajuan.storage.avatars import AvatarMaker
from huajuan.storage.deletions import AvatarFiles, DeletedPictures, Erasures
from huajuan.storage.pictures import Pictures, storage_subfolder

OpenServerPool = Callable[
    [tuple[str, ...], ClientLimits, DispatchLimits], AbstractAsyncContextManager[ServerPool]
]


def application() -> ASGIApp:
    """The application of a uvicorn worker. `serve` has completed its settings."""
    configure_logs()
    server_pid = int(os.environ.get(f"{INTERNAL_PREFIX}SERVER_PID", 0))
    if server_pid not in (0, os.getpid()):
        exit_with_parent(server_pid)
    settings = from_environment(os.environ)
    shared = os.environ.get(f"{INTERNAL_PREFIX}CHANGES_FILE")
    changes = open_versions_file(Path(shared), SCHEMAS) if shared else None
    own = identity_from_environment(os.environ)
    return create_app(settings, lambda: open_services(settings, changes=changes, own=own))


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def open_services(
    settings: Settings,
    open_server_pool: OpenServerPool = open_server_pool,
    changes: CacheVersions | None = None,
    own: ServerIdentity | None = None,
    limits: ServiceLimits | None = None,
) -> AsyncIterator[Services]:
    """Open all services and background tasks, and close them in reverse order.

    `changes` and `own` belong to the server of this worker; without a server the worker makes its own.
    """
    limits = limits or limits_of(settings)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        core = await _open_core(stack, settings, limits, open_server_pool, changes)
        services = _services(settings, limits, core)
        for threads in (services.passwords, services.avatar_maker, services.audit_pool):
            stack.callback(threads.close)
        await enter(dispatching(services.job_runner, core.dispatcher))
        await enter(
            running(
                run_write_probe(core.store.write_health, core.pool),
                _log_checks(services, core, limits.worker.audit_points_every_seconds),
                *_table_maintenance(settings.database_url, limits, core.statements),
                *_server_checks(services.job_runner, core.statements),
                *_background_tasks(services, limits),
            )
        )
        await enter(_server_lease(services, core.statements, own))
        stack.enter_context(notify_on_shutdown(services.sse_hub.stop))
        yield services


class _Core(NamedTuple):
    """The parts that the services of a worker share."""

    pool: AsyncConnectionPool
    timelines: Timelines
    store: EventStore
    statements: Statements
    sessions: Sessions
    dispatcher: Dispatcher
    projector: Projector


async def _open_core(
    stack: AsyncExitStack,
    settings: Settings,
    limits: ServiceLimits,
    open_server_pool: OpenServerPool,
    changes: CacheVersions | None,
) -> _Core:
    dsn, enter = settings.database_url, stack.enter_async_context
    timelines = Timelines(timelines_folder(settings.data_folder) if settings.data_dir else None)
    statement_seconds = settings.statement_seconds_max
    opening = open_pool(
        dsn, settings.connections_max, statement_seconds_max=statement_seconds, timelines=timelines
    )
    pool = await enter(opening)
    store = await enter(open_event_store(dsn, pool, now, limits.event_store, timelines))
    servers = await enter(open_server_pool(settings.comfyui_urls, limits.inference_client, limits.jobs))
    statements = Statements(pool, limits.event_store.reconnect_seconds_max, store.reads)
    changes = changes or private_versions([projection.schema for projection in PROJECTIONS])
    sessions = Sessions(store, statements, limits.worker.tokens_cached_max, changes)
    workflows = await open_workflow_store(statements, settings.workflow)
    dispatcher = Dispatcher(_job_runner(settings, limits.jobs, store, statements, servers, workflows))
    subscribers: dict[str, NotificationSubscriber] = {
        CHANNEL: sessions,
        ERASURES: store,
        QUEUE_CHANNEL: dispatcher,
    }
    projector = await enter(open_projector(dsn, store, PROJECTIONS, limits.projections, subscribers, changes))
    return _Core(pool, timelines, store, statements, sessions, dispatcher, projector)


@asynccontextmanager
async def _server_lease(
    services: Services, statements: Statements, own: ServerIdentity | None
) -> AsyncIterator[None]:
    """Renew the lease. A server releases its own lease; a worker without a server releases it here."""
    identity = own or make_server_identity(services.settings, services.store.stream_ids)
    lease = ServerLease(statements, identity)
    services.health.append(lease.problems)
    async with running(periodic("renew server lease", lease.renew, RENEW_SECONDS)):
        yield
    if own is None:
        await lease.release()


def _job_runner(
    settings: Settings,
    limits: DispatchLimits,
    store: EventStore,
    statements: Statements,
    servers: ServerPool,
    workflows: WorkflowStore,
) -> JobRunner:
    queue = JobQueue(statements, uuid4(), limits)
    pictures = Pictures.at(settings.storage_url)
    return JobRunner(store, queue, servers, pictures, limits, workflows, settings.checkpoint)


def _services(settings: Settings, limits: ServiceLimits, core: _Core) -> Services:
    store, statements, projector, worker = core.store, core.statements, core.projector, limits.worker
    job_runner, tables = core.dispatcher.job_runner, ReadTables(statements)
    return Services(
        settings=settings,
        store=store,
        read_your_writes=ReadYourWrites(projector, settings.read_own_writes_seconds_max),
        projector=projector,
        tables=tables,
        streams=store.streams,
        job_views=JobViews(settings, store.streams, tables, job_runner.queue, store.clock),
        sse_hub=SseHub(store.streams, partial(projector.wait_for_progress, GENERATIONS), limits.streams),
        passwords=Passwords(settings.bcrypt_cost, worker.password_threads_max, worker.passwords_waiting_max),
        tokens=Tokens(settings.jwt_secret, settings.token_hours, now, worker.tokens_cached_max),
        sessions=core.sessions,
        attempts=LoginAttempts(statements, store.stream_ids, limits.login),
        registrations=RegistrationAttempts(
            statements, store.stream_ids, settings.registrations_per_address_hour
        ),
        job_runner=job_runner,
        dispatcher=core.dispatcher,
        queue=job_runner.queue,
        pictures=job_runner.pictures,
        avatars=AvatarFiles(statements, Pictures.at(storage_subfolder(settings.storage_url, "avatars"))),
        avatar_maker=AvatarMaker(worker.avatar_threads_max, worker.avatars_waiting_max),
        deleted_pictures=DeletedPictures(statements),
        erasures=Erasures(statements),
        health=HealthChecks([store.write_health.problems, job_runner.pictures.problems, job_runner.problems]),
        points_audit=PointsAudit(tables),
        rebuilds=RebuildProcesses(settings.database_url),
        audit_pool=AuditPool(settings.database_url, limits.audit),
        idempotency_keys=IdempotencyKeys(settings.jwt_secret),
        idempotency=Idempotency(statements, limits.idempotency),
        response_cache=ResponseCache(
            statements, projector.versions, worker.cache_lease_seconds, settings.response_cache_bytes_max
        ),
    )


def _log_checks(services: Services, core: _Core, every_seconds: float) -> Coroutine[Any, Any, None]:
    """Find gaps in the streams of the log, and a database of another timeline."""
    gaps = GapWatch(core.statements)
    services.health.append(core.timelines.problems)
    services.health.append(gaps.problems)
    return periodic("check stream gaps", gaps.check, every_seconds)


def _server_checks(job_runner: JobRunner, statements: Statements) -> tuple[Coroutine[Any, Any, None], ...]:
    """Check whether the workflow fits each inference server, and log which servers draw and why."""
    origins = OriginLogger(statements, job_runner.store.stream_ids.inference_servers(), job_runner.servers)
    return (
        run_compatibility_checks(
            job_runner.servers, job_runner.workflows, job_runner.limits, job_runner.checkpoint or ""
        ),
        periodic("log server origins", origins.log_changes, job_runner.limits.servers_refresh_seconds),
    )


def _table_maintenance(
    dsn: str, limits: ServiceLimits, statements: Statements
) -> tuple[Coroutine[Any, Any, None], ...]:
    """Drop unused versions of read tables and the remains of rebuilds."""
    tables = limits.projections
    clean_up = partial(clean_up_rebuilds, dsn, PROJECTIONS, limits.rebuild)
    maintain = partial(maintain_versions, statements, PROJECTIONS, tables.unused_version_hours_max)
    return (
        periodic("maintain table versions", maintain, tables.note_use_every_seconds),
        periodic("clean up rebuilds", clean_up, tables.leftovers_every_seconds, run_at_start=False),
    )


def _background_tasks(services: Services, limits: ServiceLimits) -> tuple[Coroutine[Any, Any, None], ...]:
    store, worker, idempotency = services.store, limits.worker, services.idempotency
    most, sweep_seconds = worker.sweep_batch_max, worker.sweep_every_seconds
    cleanup_seconds, heartbeat_seconds = worker.cleanup_every_seconds, limits.idempotency.heartbeat_seconds
    expiring = (services.sessions, services.attempts, services.idempotency, services.queue)
    return (
        run_picture_sweeps(store, services.deleted_pictures, services.pictures, most, sweep_seconds),
        run_avatar_sweeps(store, services.avatars, most, sweep_seconds),
        run_erasure_jobs(erasure_job(services, limits), worker.erase_every_seconds),
        *(
            periodic("delete expired rows", one.delete_expired, cleanup_seconds, run_at_start=False)
            for one in expiring
        ),
        periodic("points audit", services.points_audit.check, worker.audit_points_every_seconds),
        services.sse_hub.run(),
        periodic("renew idempotency leases", idempotency.renew_claims, heartbeat_seconds, run_at_start=False),
        services.response_cache.run(),
    )


def erasure_job(services: Services, limits: ServiceLimits | None = None) -> ErasureJob:
    """Commands do not read the read tables, so the query for personal data is passed to them."""

    async def personal_data(account_id: UUID, most: int, position: int) -> PersonalData:
        await services.read_your_writes.wait_for(position, HISTORY, LIKES, FAVORITES)
        return await find_personal_data(services.tables, account_id, most)

    settings, given = services.settings, limits or ServiceLimits()
    return ErasureJob(
        services.store,
        services.erasures,
        services.deleted_pictures,
        services.avatars,
        personal_data,
        services.idempotency.delete_requests_of,
        lambda: vacuum_personal_data(settings.database_url, given.projections.connect_seconds_max),
        given.worker.erase_batch_max,
        settings.erasure_grace_seconds,
    )
