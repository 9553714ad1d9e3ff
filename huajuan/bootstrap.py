"""The composition root: builds what a worker process needs, from settings, and serves it."""

import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from litestar.types import ASGIApp

from huajuan.audit.gap_watch import GapWatch
from huajuan.auth.login_attempts import Attempts
from huajuan.auth.passwords import Passwords
from huajuan.auth.registrations import Registrations
from huajuan.auth.sessions import CHANNEL, Sessions
from huajuan.auth.tokens import Tokens
from huajuan.commands.clear_erased_accounts import Estate, keep_clearing_erased_accounts
from huajuan.commands.sweep_avatars import keep_sweeping_avatars
from huajuan.commands.sweep_pictures import keep_sweeping_pictures
from huajuan.event_store.erasure_listener import CHANNEL as ERASURES
from huajuan.event_store.erasure_listener import Forgetting
from huajuan.event_store.store import EventStore
from huajuan.event_store.stream_reader import StreamReader
from huajuan.event_store.write_health import keep_probing
from huajuan.http.app import create_app
from huajuan.http.audit_pool import Auditors
from huajuan.http.services import Desk
from huajuan.http.sse_hub import Followers
from huajuan.idempotency.keys import RequestNames
from huajuan.idempotency.service import Idempotency
from huajuan.inference_client import Limits as PainterLimits
from huajuan.jobs.compatibility import keep_fitting
from huajuan.jobs.dispatcher import Dispatcher
from huajuan.jobs.limits import DispatchLimits
from huajuan.jobs.queue import QUEUE_CHANNEL, JobQueue
from huajuan.jobs.runner import DrawingRoom
from huajuan.jobs.server_origins import keep_logging_origins
from huajuan.jobs.servers import Painters, open_painters
from huajuan.jobs.workflows import Workflows, opened_workflows
from huajuan.observability.health import HealthChecks
from huajuan.observability.logs import configure_logs
from huajuan.postgres.pool import open_event_store, open_pool
from huajuan.postgres.statements import Statements
from huajuan.postgres.timelines import Timelines, timelines_folder
from huajuan.projections.engine.notification_listener import Ear
from huajuan.projections.engine.points_audit import PointsAudit
from huajuan.projections.engine.projector import Projector, open_projector
from huajuan.projections.engine.versions import keep_versions
from huajuan.projections.favorites import FAVORITES
from huajuan.projections.generations import GENERATIONS
from huajuan.projections.history import HISTORY
from huajuan.projections.likes import LIKES
from huajuan.projections.queries.personal_data import Left, forget_statistics, left_by
from huajuan.projections.queries.read_tables import ReadTables
from huajuan.projections.rebuild.cleanup import keep_clearing_leftovers
from huajuan.projections.rebuild.process import RebuildProcesses
from huajuan.projections.registry import PROJECTIONS, SCHEMAS
from huajuan.response_cache.cache import Memory
from huajuan.response_cache.lease import Tenancy
from huajuan.response_cache.versions import Changes, own_changes, shared_changes
from huajuan.runtime.periodic import drawing, keep_tidy, running
from huajuan.runtime.shutdown import leave_with, told_to_stop
from huajuan.server.identity import given_identity, server_identity
from huajuan.server.server_leases import ServerIdentity, ServerLease
from huajuan.settings import PREFIX, Settings, from_environment
from huajuan.storage.avatar_files import AvatarFiles
from huajuan.storage.avatars import Portraits
from huajuan.storage.deleted_pictures import Trash
from huajuan.storage.erasures import Erasures
from huajuan.storage.pictures import Pictures, beneath

OpenPainters = Callable[
    [tuple[str, ...], PainterLimits, DispatchLimits], AbstractAsyncContextManager[Painters]
]


def application() -> ASGIApp:
    """What each uvicorn worker runs. Its settings are complete: `serve` has filled in what was left open."""
    configure_logs()
    server_pid = int(os.environ.get(f"{PREFIX}SERVER_PID", 0))
    if server_pid not in (0, os.getpid()):
        leave_with(server_pid)
    settings = from_environment(os.environ)
    shared = os.environ.get(f"{PREFIX}CHANGES_FILE")
    changes = shared_changes(Path(shared), SCHEMAS) if shared else None
    own = given_identity(os.environ)
    return create_app(settings, lambda: open_desk(settings, changes=changes, own=own))


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def open_desk(
    settings: Settings,
    open_painters: OpenPainters = open_painters,
    changes: Changes | None = None,
    own: ServerIdentity | None = None,
) -> AsyncIterator[Desk]:
    """Everything a worker has open, closed in the opposite order. `changes` and `own` are those of its server."""
    dsn, waits = settings.database_url, settings.statement_seconds_max
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        timelines = Timelines(timelines_folder(settings.data_folder) if settings.data_dir else None)
        pool = await enter(
            open_pool(dsn, settings.connections_max, statement_seconds_max=waits, timelines=timelines)
        )
        store = await enter(open_event_store(dsn, pool, now, settings.log, timelines))
        painters = await enter(
            open_painters(settings.comfyui_urls, settings.painter_limits, settings.dispatch)
        )
        statements = Statements(pool, settings.log.reconnect_seconds_max, store.reads)
        changes = changes or own_changes([projection.schema for projection in PROJECTIONS])
        sessions = Sessions(store, statements, settings.tokens_cached_max, changes)
        workflows = await opened_workflows(statements, settings.workflow)
        room = _room(settings, store, statements, painters, workflows)
        dispatcher = Dispatcher(room)
        ears: dict[str, Ear] = {CHANNEL: sessions, ERASURES: Forgetting(store), QUEUE_CHANNEL: dispatcher}
        projector = await enter(open_projector(dsn, store, PROJECTIONS, settings.projection, ears, changes))
        desk = _desk(settings, store, projector, statements, sessions, dispatcher)
        for closing in (desk.passwords, desk.portraits, desk.auditors):
            stack.callback(closing.close)
        await enter(drawing(room, dispatcher))
        probing, watching = keep_probing(store.write_health, pool), _watching(desk, statements, timelines)
        tending = (*_tending(settings, statements), *_looking_after(desk.room, statements))
        await enter(running(*_upkeep(desk), *tending, probing, watching))
        await enter(_lease_kept(desk, statements, own))
        stack.enter_context(told_to_stop(desk.followers.stop))
        yield desk


@asynccontextmanager
async def _lease_kept(desk: Desk, statements: Statements, own: ServerIdentity | None) -> AsyncIterator[None]:
    """The lease of a server is released by it, that of a worker without one here."""
    lease = ServerLease(statements, own or server_identity(desk.settings, desk.store.stream_ids))
    desk.health.add(lease.problems)
    async with running(lease.keep()):
        yield
    if own is None:
        await lease.release()


def _room(
    settings: Settings, store: EventStore, statements: Statements, painters: Painters, workflows: Workflows
) -> DrawingRoom:
    queue = JobQueue(statements, uuid4(), settings.dispatch)
    pictures = Pictures.at(settings.storage_url)
    return DrawingRoom(store, queue, painters, pictures, settings.dispatch, workflows, settings.checkpoint)


def _desk(
    settings: Settings,
    store: EventStore,
    projector: Projector,
    statements: Statements,
    sessions: Sessions,
    dispatcher: Dispatcher,
) -> Desk:
    tables = ReadTables(statements)
    streams = StreamReader(statements, store.mapper, store.keys)
    return Desk(
        settings=settings,
        store=store,
        projector=projector,
        tables=tables,
        health=_health_checks(store, dispatcher.room),
        points_audit=PointsAudit(tables),
        passwords=Passwords(settings.bcrypt_cost, settings.bcrypt_threads_max, settings.bcrypt_waiting_max),
        tokens=Tokens(settings.jwt_secret, settings.token_hours, now, settings.tokens_cached_max),
        sessions=sessions,
        attempts=Attempts(statements, store.stream_ids, settings.login),
        registrations=Registrations(statements, store.stream_ids, settings.registrations_per_address_hour),
        request_names=RequestNames(settings.jwt_secret),
        idempotency=Idempotency(statements, settings.idempotency),
        room=dispatcher.room,
        dispatcher=dispatcher,
        queue=dispatcher.room.queue,
        streams=streams,
        followers=Followers(streams, partial(projector.move, GENERATIONS), settings.streams),
        pictures=dispatcher.room.pictures,
        avatars=AvatarFiles(statements, Pictures.at(beneath(settings.storage_url, "avatars"))),
        portraits=Portraits(settings.portrait_threads_max, settings.portrait_waiting_max),
        trash=Trash(statements),
        erasures=Erasures(statements),
        rebuilds=RebuildProcesses(settings.database_url),
        auditors=Auditors(settings.database_url, settings.audit),
        tenancy=Tenancy(statements, projector.changes, settings.tenancy_seconds),
        memory=Memory(projector.changes, settings.replies_kept_bytes_max),
    )


def _health_checks(store: EventStore, room: DrawingRoom) -> HealthChecks:
    return HealthChecks([store.write_health.problems, room.pictures.problems, room.problems])


def _watching(desk: Desk, statements: Statements, timelines: Timelines) -> Coroutine[Any, Any, None]:
    """Of the log: gaps in its streams, and whether the database is the right one."""
    gaps = GapWatch(statements)
    desk.health.add(timelines.problems)
    desk.health.add(gaps.problems)
    return gaps.keep_looking(desk.settings.audit_points_every_seconds)


def _looking_after(room: DrawingRoom, statements: Statements) -> tuple[Coroutine[Any, Any, None], ...]:
    """Of the inference servers: whether the workflow fits each, and which of them draw and why."""
    studio_id = room.store.stream_ids.studio()
    return (
        keep_fitting(room.painters, room.workflows, room.limits, room.checkpoint or ""),
        keep_logging_origins(statements, studio_id, room.painters, room.limits),
    )


def _tending(settings: Settings, statements: Statements) -> tuple[Coroutine[Any, Any, None], ...]:
    """Of the read tables: old versions and what rebuilds left."""
    limits = settings.projection
    every_seconds, hours = limits.note_use_every_seconds, limits.unused_version_hours_max
    return (
        keep_versions(statements, PROJECTIONS, every_seconds, hours),
        keep_clearing_leftovers(
            settings.database_url, PROJECTIONS, settings.rebuild, limits.leftovers_every_seconds
        ),
    )


def _upkeep(desk: Desk) -> tuple[Coroutine[Any, Any, None], ...]:
    """What a worker does by itself for those that it serves."""
    return (
        _sweeping(desk),
        _sweeping_avatars(desk),
        _clearing(desk),
        _tidying(desk),
        _auditing(desk),
        _waking(desk),
        desk.idempotency.keep_claims(),
        desk.tenancy.keep(),
    )


def _sweeping(desk: Desk) -> Coroutine[Any, Any, None]:
    most, every_seconds = desk.settings.sweep_batch_max, desk.settings.sweep_every_seconds
    return keep_sweeping_pictures(desk.store, desk.trash, desk.pictures, most, every_seconds)


def _sweeping_avatars(desk: Desk) -> Coroutine[Any, Any, None]:
    most, every_seconds = desk.settings.sweep_batch_max, desk.settings.sweep_every_seconds
    return keep_sweeping_avatars(desk.store, desk.avatars, most, every_seconds)


def _tidying(desk: Desk) -> Coroutine[Any, Any, None]:
    kept = (desk.sessions, desk.attempts, desk.idempotency, desk.room.queue)
    return keep_tidy(desk.settings.tidy_every_seconds, *kept)


def _auditing(desk: Desk) -> Coroutine[Any, Any, None]:
    return desk.points_audit.keep_looking(desk.settings.audit_points_every_seconds)


def _waking(desk: Desk) -> Coroutine[Any, Any, None]:
    return desk.followers.keep_waking()


def _clearing(desk: Desk) -> Coroutine[Any, Any, None]:
    return keep_clearing_erased_accounts(_estate(desk), desk.settings.erase_every_seconds)


def _estate(desk: Desk) -> Estate:
    """Commands read no read tables, so the question what a person left is handed to them."""

    async def belongings(account_id: UUID, most: int, position: int) -> Left:
        await desk.show(position, HISTORY, LIKES, FAVORITES)
        return await left_by(desk.tables, account_id, most)

    settings = desk.settings
    return Estate(
        desk.store,
        desk.erasures,
        desk.trash,
        desk.avatars,
        belongings,
        desk.idempotency.forget_those_of,
        lambda: forget_statistics(settings.database_url, settings.projection.connect_seconds_max),
        settings.erase_batch_max,
        settings.erase_settle_seconds,
    )
