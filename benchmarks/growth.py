"""The cost of a command of an account with ten thousand events, against one with ten."""

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from uuid import UUID
from zoneinfo import ZoneInfo

import uvloop

from benchmarks.ground import Ground, say
from benchmarks.measuring import AsyncStep, Sample, measure_tasks
from benchmarks.table import Goal, Row
from huajuan.commands.check_in import check_in
from huajuan.domain.account import Account, require_account
from huajuan.domain.aggregate import AggregateRoot
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import EventStore
from tests.event_store.helpers import opened, register

SMALL_EVENTS = 10
LARGE_EVENTS = 10_000
SAVE_EVENTS = 500
# So many small ones that none of them grows much in the meantime.
SMALL_ACCOUNTS = 1_000
LARGE_ACCOUNTS = 4
CLIENTS = 4
MADE_AT_ONCE = 32
GOAL = Goal(most=1.2)
_ZONE = ZoneInfo("UTC")


def rows(ground: Ground) -> Iterator[Row]:
    """With the account cached, and with a read for each command."""
    taken = uvloop.run(_measured(ground))
    for what in ("in memory", "read anew"):
        large, small = (taken[what, events] for events in (LARGE_EVENTS, SMALL_EVENTS))
        yield Row.of(
            f"check in, account of {LARGE_EVENTS:,} events, {what}, p50",
            f"account of {SMALL_EVENTS}",
            [sample.p50 for sample in large],
            [sample.p50 for sample in small],
            "s",
            GOAL,
        )


async def _measured(ground: Ground) -> dict[tuple[str, int], list[Sample]]:
    taken: dict[tuple[str, int], list[Sample]] = {}
    async with opened(ground.database()) as store:
        say("growth: making accounts")
        accounts = {
            SMALL_EVENTS: await _grown(store, "small", SMALL_ACCOUNTS, SMALL_EVENTS),
            LARGE_EVENTS: await _grown(store, "large", LARGE_ACCOUNTS, LARGE_EVENTS),
        }
        for number in range(ground.options.rounds):
            say(f"growth: round {number + 1} of {ground.options.rounds}")
            for events, ids in list(accounts.items())[:: (-1) ** number]:
                for what, step in (("in memory", _warm), ("read anew", _cold)):
                    steps = [step(store, ids[n::CLIENTS]) for n in range(CLIENTS)]
                    sample = await measure_tasks(steps, ground.options.seconds)
                    taken.setdefault((what, events), []).append(sample)
                    await store._snapshots.write_waiting()
    return taken


async def _grown(store: EventStore, name: str, accounts: int, events: int) -> list[UUID]:
    at_once = asyncio.Semaphore(MADE_AT_ONCE)

    async def made(number: int) -> UUID:
        async with at_once:
            account_id = await register(store, f"{name}{number}")
            await _grow(store, account_id, events - 1)
            return account_id

    ids = await asyncio.gather(*map(made, range(accounts)))
    await store._snapshots.write_waiting()
    return ids


async def _grow(store: EventStore, account_id: UUID, events: int) -> None:
    days = iter(range(1, events + 1))

    def decide(found: Account | None) -> Iterable[AggregateRoot]:
        account = require_account(found)
        for day in itertools.islice(days, SAVE_EVENTS):
            account.check_in(date.fromordinal(day), once_a_day=False)
        return [account]

    for _ in range(0, events, SAVE_EVENTS):
        await store.change(decide, Stream(Account, account_id))


def _warm(store: EventStore, accounts: Sequence[UUID]) -> AsyncStep:
    turns = itertools.cycle(accounts)

    async def step() -> None:
        await check_in(store, next(turns), _ZONE, once_a_day=False)

    return step


def _cold(store: EventStore, accounts: Sequence[UUID]) -> AsyncStep:
    """As after a restart: reads the snapshot and the events after it."""
    turns = itertools.cycle(accounts)

    async def step() -> None:
        account_id = next(turns)
        store._cache.drop([account_id])
        await check_in(store, account_id, _ZONE, once_a_day=False)

    return step
