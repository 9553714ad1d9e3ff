"""What a worker does by itself, beside answering requests."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

from huajuan.dispatch.dispatcher import Dispatcher
from huajuan.dispatch.queue import JobQueue
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
async def drawing(room: DrawingRoom, dispatcher: Dispatcher) -> AsyncIterator[None]:
    """Jobs are taken and drawn; at the end the open ones are left to whoever comes next."""
    async with running(dispatcher.run(), dispatcher.keep_giving_up(), room.keep_leases()):
        yield
    await room.close()


async def keep_tidy(sessions: Sessions, attempts: Attempts, queue: JobQueue, every_seconds: float) -> None:
    """For ever: forget what has lost its meaning with time."""
    while True:
        await asyncio.sleep(every_seconds)
        try:
            await sessions.tidy()
            await attempts.tidy()
            await queue.tidy()
        except LogError as error:
            _logger.warning("tidying left for later", error=type(error).__name__)
