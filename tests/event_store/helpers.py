"""Helpers of the event store tests: an event store on a test database, and a few commands."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg

from huajuan.audit.connection import open_read_only, read_log_head, stream_ids
from huajuan.audit.hash_chain import log_pages
from huajuan.audit.verify import VerificationTarget, verify
from huajuan.domain.account import Account
from huajuan.domain.aggregate import AggregateRoot
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import ChangeResult, EventStore, open_event_store
from huajuan.event_store.writer import EventStoreLimits
from huajuan.postgres.connect import open_pool

FIRST_DAY = date(2026, 1, 1)
POOL_CONNECTIONS_MAX = 4


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def opened(dsn: str, **limits: Any) -> AsyncIterator[EventStore]:
    async with (
        open_pool(dsn, POOL_CONNECTIONS_MAX) as pool,
        open_event_store(dsn, pool, now, EventStoreLimits(**limits)) as store,
    ):
        yield store


async def register(store: EventStore, name: str) -> UUID:
    account_id = store.stream_ids.account(name)
    await store.keys.make(account_id)
    new = Account.register

    def decide(account: Account | None) -> Iterable[AggregateRoot]:
        return [new(account_id, name, f"{name}@example.org", "hash")]

    await store.change(decide, Stream(Account, account_id))
    return account_id


async def check_in(store: EventStore, account_id: UUID, day: int = 0) -> ChangeResult:
    def decide(account: Account | None) -> Iterable[AggregateRoot]:
        assert account
        account.check_in(FIRST_DAY + timedelta(days=day))
        return [account]

    return await store.change(decide, Stream(Account, account_id))


async def hold(store: EventStore, account_id: UUID, points: int = 20) -> ChangeResult:
    def decide(account: Account | None) -> Iterable[AggregateRoot]:
        assert account
        account.hold(uuid4(), points)
        return [account]

    return await store.change(decide, Stream(Account, account_id))


def is_whole(dsn: str) -> bool:
    with open_read_only(dsn) as connection:
        claim = VerificationTarget(str(stream_ids(connection).installation()))
        return verify(log_pages(connection, read_log_head(connection)[0]), claim, {}).whole


def log_rows(dsn: str, columns: str = "notification_id, originator_id, originator_version") -> list[Any]:
    with psycopg.connect(dsn) as connection:
        query = f"SELECT {columns} FROM log.huajuan_events ORDER BY notification_id"
        return connection.execute(query.encode()).fetchall()
