"""Runs asynchronous work that a signal ends in order."""

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from huajuan.runtime.shutdown import StopAsked, heeded, say_stopping

T = TypeVar("T")


def run_until_told(work: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`. To be told to stop cancels the work, lets it clear up, then raises `StopAsked`.

    An exception raised by a signal's handler in the midst of a loop may end in any task, and be lost there.
    """
    told: list[bool] = []
    try:
        return asyncio.run(_heeding(work, told))
    except asyncio.CancelledError:
        if told:
            raise StopAsked from None
        raise


async def _heeding(work: Coroutine[Any, Any, T], told: list[bool]) -> T:
    task = asyncio.ensure_future(work)

    def stop() -> None:
        if not told:
            told.append(True)
            say_stopping()
            task.cancel()

    with _handlers_kept():
        loop = asyncio.get_running_loop()
        for number in heeded():
            loop.add_signal_handler(number, stop)
        return await task


@contextmanager
def _handlers_kept() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in heeded()}
    try:
        yield
    finally:
        for number, handler in before.items():
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, handler)
