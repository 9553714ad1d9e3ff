"""Those who follow streams of the log: bounded in number, woken when one moves, sent home when the process stops."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import UUID

import structlog

from huajuan.event_store.errors import LogError
from huajuan.event_store.stream_reader import StreamReader
from huajuan.http.limits import StreamLimits

# Waits until the log has moved, as far as is known here, or for so many seconds.
Moved = Callable[[float], Awaitable[object]]
_logger = structlog.get_logger(__name__)


class TooManyFollowers(Exception):
    """As many streams are open as may be, in this process or for this account."""


class Follower:
    """Who follows which stream, and up to which `position` they have read it."""

    def __init__(self, account_id: UUID, stream: UUID) -> None:
        self.account_id = account_id
        self.stream = stream
        self.position = 0
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def wait(self, seconds_max: float) -> bool:
        """Whether somebody woke them."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds_max):
                await self._woken.wait()
        woken = self._woken.is_set()
        self._woken.clear()
        return woken


class Followers:
    """One a process: however many follow, one look at the log tells who is to be woken."""

    def __init__(self, reader: StreamReader, moved: Moved, limits: StreamLimits) -> None:
        self.limits = limits
        self.is_stopping = False
        self._reader = reader
        self._moved = moved
        self._all: set[Follower] = set()
        self._somebody = asyncio.Event()

    def enter(self, account_id: UUID, stream: UUID) -> Follower:
        """To be followed by `leave`. Raises `TooManyFollowers`."""
        own = sum(follower.account_id == account_id for follower in self._all)
        if len(self._all) >= self.limits.open_max or own >= self.limits.account_open_max:
            raise TooManyFollowers
        follower = Follower(account_id, stream)
        self._all.add(follower)
        self._somebody.set()
        return follower

    def leave(self, follower: Follower) -> None:
        self._all.discard(follower)

    def stop(self) -> None:
        """Everybody is to go: a server that stops waits for them."""
        self.is_stopping = True
        for follower in self._all:
            follower.wake()

    async def keep_waking(self) -> None:
        """For ever."""
        while True:
            await self._somebody.wait()
            if self._all:
                await self._moved(self.limits.look_seconds)
                await self._wake()
            else:
                self._somebody.clear()

    async def _wake(self) -> None:
        try:
            newest = await self._reader.newest([follower.stream for follower in self._all])
        except LogError as error:
            _logger.warning("followers left to wait", error=type(error).__name__)
            await asyncio.sleep(self.limits.look_seconds)
            return
        for follower in self._all:
            if newest.get(follower.stream, 0) > follower.position:
                follower.wake()
