"""Runs a coroutine that a stop signal cancels."""

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from huajuan.runtime.shutdown import ShutdownRequested, report_stopping, stop_signals

T = TypeVar("T")


def run_until_signal(work: Coroutine[Any, Any, T]) -> T:
    """Like `asyncio.run`. A stop signal cancels the work; after its cleanup `ShutdownRequested` is raised.

    An exception raised by a signal handler could be raised inside any task of the loop, and be lost there.
    """
    signalled: list[bool] = []
    try:
        return asyncio.run(_run_cancellable(work, signalled))
    except asyncio.CancelledError:
        if signalled:
            raise ShutdownRequested from None
        raise


async def _run_cancellable(work: Coroutine[Any, Any, T], signalled: list[bool]) -> T:
    task = asyncio.ensure_future(work)

    def stop() -> None:
        if not signalled:
            signalled.append(True)
            report_stopping()
            task.cancel()

    with _restored_handlers():
        loop = asyncio.get_running_loop()
        for number in stop_signals():
            loop.add_signal_handler(number, stop)
        return await task


@contextmanager
def _restored_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in stop_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, handler)
