"""Ends tasks that would go on for ever."""

import asyncio
from collections.abc import Iterable
from typing import Any

import structlog

_AGAIN_SECONDS = 0.1
_TIMES_MAX = 100
_logger = structlog.get_logger(__name__)


async def end(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel them until they have ended, within a bound.

    Once is not enough: up to Python 3.11 `asyncio.wait_for`, with which the connection pool waits, swallows a
    cancellation that arrives together with what it waits for.
    """
    tasks = list(tasks)
    going_on = {task for task in tasks if not task.done()}
    for _ in range(_TIMES_MAX):
        if not going_on:
            break
        for task in going_on:
            task.cancel()
        _, going_on = await asyncio.wait(going_on, timeout=_AGAIN_SECONDS)
    for task in going_on:
        _logger.error("a task does not end", task=task.get_name())
    await asyncio.gather(*(task for task in tasks if task.done()), return_exceptions=True)
