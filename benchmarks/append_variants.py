"""The variants of the append benchmark: our group commit, and a plain INSERT."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, date, datetime
from typing import NamedTuple
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import psycopg
from eventsourcing.persistence import StoredEvent

from benchmarks.measuring import AsyncStep, Sample, measure_tasks
from huajuan.commands.check_in import check_in
from huajuan.domain.account import Account
from huajuan.domain.aggregate import EventMetadata, with_event_metadata
from huajuan.event_store.mapper import EventMapper
from huajuan.event_store.store import EventStore
from huajuan.event_store.writer import EventStoreLimits, Writer
from tests.event_store.helpers import opened, register
from tests.event_store.samples import OneKey

ACCOUNTS = 400
_ZONE = ZoneInfo("UTC")
INSERT = (
    "INSERT INTO public.raw_events (originator_id, originator_version, topic, state, chain) "
    "VALUES (%b, %b, %b, %b, sha256(''))"
)


class Variant(NamedTuple):
    """`measure` takes the number of clients and the seconds."""

    name: str
    measure: Callable[[int, float], Awaitable[Sample]]


@asynccontextmanager
async def group_commit(dsn: str) -> AsyncIterator[Variant]:
    """Prepared rows through the writer alone."""
    writer = Writer(dsn, EventStoreLimits())
    await writer.open()

    async def measure(clients: int, seconds: float) -> Sample:
        return await measure_tasks([_append_rows(writer) for _ in range(clients)], seconds)

    yield Variant("group commit: rows ready-made", measure)
    await writer.close()


@asynccontextmanager
async def whole_commands(dsn: str) -> AsyncIterator[Variant]:
    """Check-ins of cached accounts: decided, mapped and appended by the event store."""
    async with opened(dsn) as store:
        accounts = await asyncio.gather(*(register(store, f"user{n}") for n in range(ACCOUNTS)))

        async def measure(clients: int, seconds: float) -> Sample:
            shares = [accounts[n::clients] for n in range(clients)]
            sample = await measure_tasks([_check_in_by_turns(store, share) for share in shares], seconds)
            await store._snapshots.write_waiting()  # so that they do not slow down the next measurement
            return sample

        yield Variant("group commit: whole commands", measure)


@asynccontextmanager
async def raw_insert(dsn: str) -> AsyncIterator[Variant]:
    """One connection per client, one row per commit; the table has the log's columns and indexes."""
    make_raw_table(dsn)

    async def measure(clients: int, seconds: float) -> Sample:
        async with AsyncExitStack() as stack:
            connections = [await _connected(dsn, stack) for _ in range(clients)]
            return await measure_tasks([_insert_rows(connection) for connection in connections], seconds)

    yield Variant("raw async INSERT", measure)


def make_raw_table(dsn: str) -> None:
    """Creates a table with the log's columns and indexes."""
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE public.raw_events (LIKE log.huajuan_events INCLUDING ALL)")
        connection.execute(
            "ALTER TABLE public.raw_events ALTER notification_id ADD GENERATED ALWAYS AS IDENTITY"
        )


def _append_rows(writer: Writer) -> AsyncStep:
    stream, versions, sample = uuid4(), itertools.count(1), a_check_in()

    async def step() -> None:
        await writer.append([StoredEvent(stream, next(versions), sample.topic, sample.state)])

    return step


def _check_in_by_turns(store: EventStore, accounts: Sequence[UUID]) -> AsyncStep:
    turns = itertools.cycle(accounts)

    async def step() -> None:
        await check_in(store, next(turns), _ZONE, once_a_day=False)

    return step


def _insert_rows(connection: psycopg.AsyncConnection) -> AsyncStep:
    stream, versions, sample = uuid4(), itertools.count(1), a_check_in()

    async def step() -> None:
        row = (stream, next(versions), sample.topic, sample.state)
        await connection.execute(INSERT, row, prepare=True)

    return step


async def _connected(dsn: str, stack: AsyncExitStack) -> psycopg.AsyncConnection:
    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    return await stack.enter_async_context(connection)


def a_check_in() -> StoredEvent:
    """The row of a real check-in."""
    with with_event_metadata(EventMetadata(datetime.now(UTC))):
        account = Account.register(uuid4(), "ann", "ann@example.org", "hash")
        account.check_in(date.today())
    return EventMapper(keys=OneKey()).to_stored_event(account.collect_events()[-1])
