"""The composition root: builds what a worker process needs, from settings, and serves it."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from litestar.types import ASGIApp

from huajuan.commands.finish_abandoned_images import keep_finishing_abandoned_images
from huajuan.commands.sweep_pictures import keep_sweeping_pictures
from huajuan.dispatch.hosts import Hosts, open_hosts
from huajuan.dispatch.leases import Leases
from huajuan.dispatch.room import DrawingRoom
from huajuan.dispatch.trash import Trash
from huajuan.event_store.opening import open_event_store, open_pool
from huajuan.event_store.store import EventStore
from huajuan.http.app import create_app
from huajuan.http.desk import Desk
from huajuan.http.tokens import Tokens
from huajuan.inference_client import Limits as PainterLimits
from huajuan.logs import configure_logs
from huajuan.passwords import Passwords
from huajuan.pictures import Pictures
from huajuan.projections.projector import open_projector
from huajuan.projections.questions import ReadTables
from huajuan.projections.registry import PROJECTIONS
from huajuan.serving.stopping import leave_with
from huajuan.settings import PREFIX, Settings, from_environment

OpenHosts = Callable[[tuple[str, ...], PainterLimits], AbstractAsyncContextManager[Hosts]]


def application() -> ASGIApp:
    """What each uvicorn worker runs. Its settings are complete: `serve` has filled in what was left open."""
    configure_logs()
    server_pid = int(os.environ.get(f"{PREFIX}SERVER_PID", 0))
    if server_pid not in (0, os.getpid()):
        leave_with(server_pid)
    settings = from_environment(os.environ)
    return create_app(settings, lambda: open_desk(settings))


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def open_desk(settings: Settings, open_hosts: OpenHosts = open_hosts) -> AsyncIterator[Desk]:
    """Everything a worker has open, closed in the opposite order."""
    dsn = settings.database_url
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(dsn, settings.connections_max, statement_seconds_max=settings.statement_seconds_max)
        )
        store = await stack.enter_async_context(open_event_store(dsn, pool, now, settings.log))
        projector = await stack.enter_async_context(
            open_projector(dsn, store, PROJECTIONS, settings.projection)
        )
        hosts = await stack.enter_async_context(open_hosts(settings.comfyui_urls, settings.painter_limits))
        outage_seconds_max = settings.log.reconnect_seconds_max
        leases = Leases(pool, uuid4(), settings.dispatch.lease_seconds, outage_seconds_max)
        pictures = Pictures.at(settings.storage_url)
        room = DrawingRoom(store, leases, hosts, pictures, settings.dispatch_limits, settings.checkpoint)
        await stack.enter_async_context(working(room))
        trash = Trash(pool, outage_seconds_max)
        await stack.enter_async_context(running(sweeping(store, trash, pictures, settings)))
        passwords = Passwords(settings.bcrypt_cost, settings.bcrypt_threads_max, settings.bcrypt_waiting_max)
        stack.callback(passwords.close)
        yield Desk(
            settings=settings,
            store=store,
            projector=projector,
            tables=ReadTables(pool, outage_seconds_max),
            passwords=passwords,
            tokens=Tokens(settings.jwt_secret, settings.token_hours, now, settings.tokens_cached_max),
            room=room,
            pictures=pictures,
            trash=trash,
        )


def sweeping(
    store: EventStore, trash: Trash, pictures: Pictures, settings: Settings
) -> Coroutine[Any, Any, None]:
    most, every_seconds = settings.sweep_batch_max, settings.sweep_every_seconds
    return keep_sweeping_pictures(store, trash, pictures, most, every_seconds)


@asynccontextmanager
async def working(room: DrawingRoom) -> AsyncIterator[None]:
    """The room's timers run; at the end its open jobs are left to whoever comes next."""
    async with running(room.keep_leases(), keep_finishing_abandoned_images(room)):
        yield
    await room.close()


@asynccontextmanager
async def running(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
