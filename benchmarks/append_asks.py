"""Requests of pictures: one append to two streams, which holds the points and records the request."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from benchmarks.append_stock import PLENTY, Stock, environment_of, register_all
from benchmarks.append_variants import ACCOUNTS, Variant
from benchmarks.measuring import AsyncStep, Sample, Step, measure_tasks, measure_threads
from huajuan.domain.account import Account, require_account
from huajuan.domain.aggregate import AggregateRoot, EventMetadata, with_event_metadata
from huajuan.domain.image import Image
from huajuan.domain.rules import PICTURE_COST
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import EventStore
from tests.event_store.helpers import now, opened, register
from tests.projections.gallery import SUN

DEADLINE = timedelta(minutes=5)


@asynccontextmanager
async def asks(dsn: str) -> AsyncIterator[Variant]:
    """The event store decides, maps and appends."""
    async with opened(dsn) as store:
        accounts = await asyncio.gather(*(_rich(store, f"asker{n}") for n in range(ACCOUNTS)))

        async def measure(clients: int, seconds: float) -> Sample:
            shares = [accounts[n::clients] for n in range(clients)]
            sample = await measure_tasks([_ask_by_turns(store, share) for share in shares], seconds)
            await store._snapshots.write_waiting()  # so that they do not slow down the next measurement
            return sample

        yield Variant("generate's ask", measure)


@asynccontextmanager
async def stock_asks(dsn: str, clients_max: int) -> AsyncIterator[Variant]:
    """The same aggregates and decisions with `Application.save` of both."""
    app = Stock(environment_of(dsn, clients_max))
    accounts = register_all(app)

    async def measure(clients: int, seconds: float) -> Sample:
        shares = [accounts[n::clients] for n in range(clients)]
        return await measure_threads([_save_by_turns(app, share) for share in shares], seconds)

    yield Variant("stock Application.save of an ask", measure)
    app.close()


async def _rich(store: EventStore, name: str) -> UUID:
    account_id = await register(store, name)

    def decide(found: Account | None) -> Iterable[AggregateRoot]:
        account = require_account(found)
        account.grant(PLENTY, "welcome")
        return [account]

    await store.change(decide, Stream(Account, account_id))
    return account_id


def _asked(account: Account) -> list[AggregateRoot]:
    image_id = uuid4()
    account.hold(image_id, PICTURE_COST)
    return [account, Image.request(image_id, account.id, SUN, PICTURE_COST, now() + DEADLINE)]


def _ask_by_turns(store: EventStore, accounts: Sequence[UUID]) -> AsyncStep:
    turns = itertools.cycle(accounts)

    async def step() -> None:
        await store.change(lambda found: _asked(require_account(found)), Stream(Account, next(turns)))

    return step


def _save_by_turns(app: Stock, accounts: Sequence[UUID]) -> Step:
    turns = itertools.cycle(accounts)

    def step() -> None:
        account: Account = app.repository.get(next(turns))
        with with_event_metadata(EventMetadata(datetime.now(UTC))):
            asked = _asked(account)
        app.save(*asked)

    return step
