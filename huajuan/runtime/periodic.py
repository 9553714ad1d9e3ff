"""What a worker does by itself, beside answering requests."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Protocol

import structlog

from huajuan.event_store.errors import LogError
from huajuan.jobs.dispatcher import Dispatcher
from huajuan.jobs.runner import DrawingRoom
from huajuan.runtime.cancel_tasks import end

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


class Ageing(Protocol):
    """Has something that loses its meaning with time."""

    async def tidy(self) -> None: ...


async def keep_tidy(every_seconds: float, *kept: Ageing) -> None:
    """For ever: forget what has lost its meaning with time."""
    while True:
        await asyncio.sleep(every_seconds)
        try:
            for one in kept:
                await one.tidy()
        except LogError as error:
            _logger.warning("tidying left for later", error=type(error).__name__)
