"""Work that would hold up the event loop, done in a bounded number of threads."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class TooManyWaiting(Exception):
    """So much is waiting for a thread that one more would wait too long."""


class Threads:
    """At most `threads_max` pieces of work are done at a time and `waiting_max` wait."""

    def __init__(self, name: str, threads_max: int, waiting_max: int) -> None:
        self._room = threads_max + waiting_max
        self._pool = ThreadPoolExecutor(threads_max, thread_name_prefix=name)

    async def run(self, work: Callable[[], T]) -> T:
        """Raises `TooManyWaiting`, and what the work raises."""
        if self._room <= 0:
            raise TooManyWaiting
        self._room -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._room += 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
