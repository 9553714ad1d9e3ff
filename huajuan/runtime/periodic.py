"""Background work: periodic tasks, tasks that run while a block runs, and a bounded thread pool."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import structlog

T = TypeVar("T")
_CANCEL_AGAIN_SECONDS = 0.1
_CANCEL_TIMES_MAX = 100
_logger = structlog.get_logger(__name__)


async def periodic(
    name: str,
    work: Callable[[], Awaitable[object]],
    interval_seconds: float,
    *,
    run_at_start: bool = True,
    wakeup: asyncio.Event | None = None,
    trigger: asyncio.Event | None = None,
) -> None:
    """Calls `work`, again after pauses of `interval_seconds`, until cancelled. Logs its errors as warnings.

    `run_at_start=False` begins with a pause. Setting `wakeup` ends a pause early.
    With `trigger`, each call waits until that event is set. Both events are cleared before the call.
    """
    if not run_at_start:
        await _pause(interval_seconds, wakeup)
    while True:
        if trigger:
            await trigger.wait()
            trigger.clear()
        try:
            await work()
        except Exception as error:
            _logger.warning("background task failed", task=name, error=type(error).__name__, exc_info=error)
        await _pause(interval_seconds, wakeup)


async def _pause(seconds: float, wakeup: asyncio.Event | None) -> None:
    if wakeup is None:
        await asyncio.sleep(seconds)
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wakeup.wait()
    wakeup.clear()


@asynccontextmanager
async def running(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs each coroutine as a task during the block, and cancels it at the end."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        await cancel_tasks(tasks)


async def cancel_tasks(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancels the tasks and waits until they have ended, at most 10 seconds.

    One cancellation is not enough: up to Python 3.11 `asyncio.wait_for`, which the connection pool uses,
    loses a cancellation that arrives together with the awaited result.
    """
    tasks = list(tasks)
    pending = {task for task in tasks if not task.done()}
    for _ in range(_CANCEL_TIMES_MAX):
        if not pending:
            break
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_SECONDS)
    for task in pending:
        _logger.error("a task does not end", task=task.get_name())
    await asyncio.gather(*(task for task in tasks if task.done()), return_exceptions=True)


class TooManyWaiting(Exception):
    """The queue of the thread pool is full."""


class Threads:
    """Executes at most `threads_max` calls at a time, while at most `waiting_max` wait."""

    def __init__(self, name: str, threads_max: int, waiting_max: int) -> None:
        self._free = threads_max + waiting_max
        self._pool = ThreadPoolExecutor(threads_max, thread_name_prefix=name)

    async def run(self, work: Callable[[], T]) -> T:
        """Raises `TooManyWaiting`, and the errors of `work`."""
        if self._free <= 0:
            raise TooManyWaiting
        self._free -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._free += 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
