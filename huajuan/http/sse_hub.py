"""Server-sent event streams: limits their number, and wakes each one when its log stream has new events."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import UUID

import msgspec
import structlog

from huajuan.event_store.errors import DatabaseFailure
from huajuan.event_store.log_reader import StreamReader

# Waits until the log has moved, as far as this process knows, or for so many seconds.
WaitForLog = Callable[[float], Awaitable[object]]
_logger = structlog.get_logger(__name__)


class StreamLimits(msgspec.Struct, frozen=True):
    """Event streams that a process, and one account in it, may have open; how often each reads and sends.

    `look_seconds` is the longest wait between two reads.
    """

    open_max: int = 200
    account_open_max: int = 10
    look_seconds: float = 1
    heartbeat_seconds: float = 15


class TooManyStreams(Exception):
    """This process, or this account in it, has as many open streams as allowed."""


class SseSubscription:
    """One open stream of an account, and the `position` up to which it has read the log stream."""

    def __init__(self, account_id: UUID, stream: UUID) -> None:
        self.account_id = account_id
        self.stream = stream
        self.position = 0
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def wait(self, seconds_max: float) -> bool:
        """Wait to be woken; `False` after `seconds_max`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds_max):
                await self._woken.wait()
        woken = self._woken.is_set()
        self._woken.clear()
        return woken


class SseHub:
    """All open streams of a process. One query finds which of them have moved, however many there are."""

    def __init__(self, reader: StreamReader, wait_for_log: WaitForLog, limits: StreamLimits) -> None:
        self.limits = limits
        self.is_stopping = False
        self._reader = reader
        self._wait_for_log = wait_for_log
        self._subscriptions: set[SseSubscription] = set()
        self._has_subscriptions = asyncio.Event()

    def subscribe(self, account_id: UUID, stream: UUID) -> SseSubscription:
        """Call `unsubscribe` when the stream ends. Raises `TooManyStreams`."""
        own = sum(subscription.account_id == account_id for subscription in self._subscriptions)
        if len(self._subscriptions) >= self.limits.open_max or own >= self.limits.account_open_max:
            raise TooManyStreams
        subscription = SseSubscription(account_id, stream)
        self._subscriptions.add(subscription)
        self._has_subscriptions.set()
        return subscription

    def unsubscribe(self, subscription: SseSubscription) -> None:
        self._subscriptions.discard(subscription)

    def stop(self) -> None:
        """End all streams: a server that shuts down waits for them."""
        self.is_stopping = True
        for subscription in self._subscriptions:
            subscription.wake()

    async def run(self) -> None:
        """Wake streams for as long as the process runs."""
        while True:
            await self._has_subscriptions.wait()
            if self._subscriptions:
                await self._wait_for_log(self.limits.look_seconds)
                await self._wake_moved()
            else:
                self._has_subscriptions.clear()

    async def _wake_moved(self) -> None:
        try:
            newest = await self._reader.newest([each.stream for each in self._subscriptions])
        except DatabaseFailure as error:
            _logger.warning("event streams could not be read", error=type(error).__name__)
            await asyncio.sleep(self.limits.look_seconds)
            return
        for subscription in self._subscriptions:
            if newest.get(subscription.stream, 0) > subscription.position:
                subscription.wake()
