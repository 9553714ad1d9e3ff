"""Two workers on one database, with a clock that stands still until it is set, driven from plain functions."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from huajuan.bootstrap import _estate
from huajuan.commands.clear_erased_accounts import clear_erased_accounts
from huajuan.http.services import Desk
from huajuan.projections.registry import PROJECTIONS
from tests.jobs.fake_host import FakeHost
from tests.services import desk_on

T = TypeVar("T")
SEVEN_IN_THE_MORNING = datetime(2026, 11, 24, 7, tzinfo=UTC)
# The timers are driven by hand.
BY_HAND = {"erase_every_seconds": 3600.0, "sweep_every_seconds": 3600.0, "erase_settle_seconds": 0.0}


class Service:
    """`do` runs to its end; nothing happens in between."""

    def __init__(self, runner: asyncio.Runner, desks: list[Desk], host: FakeHost) -> None:
        self._runner = runner
        self.desks = desks
        self.host = host
        self.day = 0
        for desk in desks:
            desk.store.clock = self.now

    def now(self) -> datetime:
        return SEVEN_IN_THE_MORNING + timedelta(days=self.day)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def clear(self) -> None:
        self.do(self._clear())

    async def _clear(self) -> None:
        while (await self.desks[0].erasures.waiting(1)) and not await clear_erased_accounts(
            _estate(self.desks[0])
        ):
            await asyncio.sleep(0.001)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """As the read tables show them once they have folded the whole log."""
        return self.do(self._rows(query))

    async def _rows(self, query: str) -> list[tuple[Any, ...]]:
        desk = self.desks[0]
        (head,) = await desk.tables._statements.run("SELECT max(notification_id) FROM log.huajuan_events")
        assert await desk.projector.reach(head[0] or 0, *PROJECTIONS, seconds_max=20)
        return await desk.tables._statements.run(query)


@contextmanager
def running_service(dsn: str) -> Iterator[Service]:
    host = FakeHost()
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def open_desks() -> list[Desk]:
            return [await stack.enter_async_context(desk_on(dsn, host, **BY_HAND)) for _ in range(2)]

        try:
            yield Service(runner, runner.run(open_desks()), host)
        finally:
            runner.run(stack.aclose())
