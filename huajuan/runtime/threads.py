"""A bounded thread pool for work that would block the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


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
