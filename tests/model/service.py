"""Two workers on one database with a controlled clock, driven from synchronous functions."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from huajuan.bootstrap import erasure_job
from huajuan.commands.erase_account import clear_erased_accounts
from huajuan.http.services import Services
from huajuan.projections.favorites import FAVORITES
from huajuan.projections.history import HISTORY
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.registry import PROJECTIONS
from tests.jobs.fake_server import FakeInferenceServer
from tests.model.business import Business
from tests.services import services_on

T = TypeVar("T")
SEVEN_IN_THE_MORNING = datetime(2026, 11, 24, 7, tzinfo=UTC)
# The test runs the background tasks itself.
NO_BACKGROUND_TASKS = {
    "erase_every_seconds": 3600.0,
    "sweep_every_seconds": 3600.0,
    "erasure_grace_seconds": 0.0,
}


class Service:
    """`do` runs a coroutine to its end; between calls no task runs."""

    def __init__(self, runner: asyncio.Runner, desks: list[Services], host: FakeInferenceServer) -> None:
        self._runner = runner
        self.desks = desks
        self.host = host
        self.day = 0
        for services in desks:
            services.store.clock = self.now

    def now(self) -> datetime:
        return SEVEN_IN_THE_MORNING + timedelta(days=self.day)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def clear_erased(self) -> None:
        self.do(self._clear_erased())

    async def _clear_erased(self) -> None:
        while (await self.desks[0].erasures.waiting(1)) and not await clear_erased_accounts(
            erasure_job(self.desks[0])
        ):
            await asyncio.sleep(0.001)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return rows of the read tables after they have folded the whole log."""
        return self.do(self._rows(query))

    async def _rows(self, query: str) -> list[tuple[Any, ...]]:
        services = self.desks[0]
        (head,) = await services.tables._statements.run("SELECT max(notification_id) FROM log.huajuan_events")
        assert await services.projector.wait_for_position(head[0] or 0, *PROJECTIONS, seconds_max=20)
        return await services.tables._statements.run(query)


@contextmanager
def running_service(dsn: str) -> Iterator[Service]:
    host = FakeInferenceServer()
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def open_desks() -> list[Services]:
            return [
                await stack.enter_async_context(services_on(dsn, host, **NO_BACKGROUND_TASKS))
                for _ in range(2)
            ]

        try:
            yield Service(runner, runner.run(open_desks()), host)
        finally:
            runner.run(stack.aclose())


def assert_tables_match(service: Service, business: Business) -> None:
    ids = [person.id for person in business.people]
    assert points_in_table(service, ids) == {person.id: person.points() for person in business.people}
    for granted, *parts in (person.points() for person in business.people):
        assert granted == sum(parts)
    visible = {p.id: (len(p.likes), len(p.favorites)) for p in business.pictures if p.is_visible}
    assert pictures_in_table(service, ids) == visible


def points_in_table(service: Service, ids: list[UUID]) -> dict[UUID, tuple[int, ...]]:
    query = (
        "SELECT account_id, granted, available, held, spent, deducted, forfeited "
        f"FROM {POINT_BALANCES.schema}.point_balances"
    )
    return {row[0]: row[1:] for row in service.rows(query) if row[0] in ids}


def pictures_in_table(service: Service, owners: list[UUID]) -> dict[UUID, tuple[int, int]]:
    query = f"""SELECT h.account_id, h.image_id, h.likecount::int,
                      (SELECT count(*)::int FROM {FAVORITES.schema}.favorites f WHERE f.image_id = h.image_id)
                 FROM {HISTORY.schema}.history h WHERE h.id IS NOT NULL AND NOT h.hidden"""
    return {row[1]: row[2:] for row in service.rows(query) if row[0] in owners}
