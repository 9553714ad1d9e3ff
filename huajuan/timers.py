"""What a worker does by itself, beside answering requests."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

from huajuan.commands.finish_abandoned_images import keep_finishing_abandoned_images
from huajuan.dispatch.room import DrawingRoom
from huajuan.event_store.ending import end
from huajuan.event_store.errors import LogError
from huajuan.sessions.attempts import Attempts
from huajuan.sessions.sessions import Sessions

_logger = structlog.get_logger(__name__)


@asynccontextmanager
async def running(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Each goes on until the end, and is then cancelled."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        await end(tasks)


@asynccontextmanager
async def drawing(room: DrawingRoom) -> AsyncIterator[None]:
    """The room's timers run; at the end its open jobs are left to whoever comes next."""
    async with running(room.keep_leases(), keep_finishing_abandoned_images(room)):
        yield
    await room.close()


async def keep_tidy(sessions: Sessions, attempts: Attempts, every_seconds: float) -> None:
    """For ever: forget what has lost its meaning with time."""
    while True:
        await asyncio.sleep(every_seconds)
        try:
            await sessions.tidy()
            await attempts.tidy()
        except LogError as error:
            _logger.warning("tidying left for later", error=type(error).__name__)
