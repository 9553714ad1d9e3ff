"""A log with people and pictures in it, and a look at whole read tables."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from huajuan.domain.account import Account
from huajuan.domain.image import Image
from huajuan.domain.image_parameters import Order
from huajuan.event_store.limits import LogLimits
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import EventStore
from huajuan.postgres.pool import open_event_store, open_pool
from huajuan.projections.engine.limits import ProjectionLimits
from huajuan.projections.engine.projection import Projection, Touch, of_stream
from huajuan.projections.engine.projector import Projector, open_projector
from huajuan.projections.engine.schema import create_read_tables
from huajuan.projections.engine.table import Table
from huajuan.projections.registry import PROJECTIONS
from huajuan.projections.users import UserRow
from tests.event_store.studio import check_in, now, register

SUN = Order("sun", 220, 200, 30, "DDIM", "7")
SECONDS_MAX = 20


@asynccontextmanager
async def projecting(
    dsn: str, projections: tuple[Projection, ...] = PROJECTIONS, **limits: Any
) -> AsyncIterator[tuple[EventStore, Projector]]:
    create_read_tables(dsn, projections)
    async with (
        open_pool(dsn, 4) as pool,
        open_event_store(dsn, pool, now, LogLimits()) as store,
        open_projector(dsn, store, projections, ProjectionLimits(**limits)) as projector,
    ):
        yield store, projector


async def draw(store: EventStore, account_id: UUID, *, fail: bool = False) -> int:
    """Ask and tell at once; the position after the telling."""
    image_id = uuid4()

    def ask(account: Account | None):  # type: ignore[no-untyped-def]
        assert account
        account.hold(image_id, 20)
        return [account, Image.request(image_id, account_id, SUN, 20, now() + timedelta(minutes=5))]

    def tell(account: Account | None, image: Image | None):  # type: ignore[no-untyped-def]
        assert account
        assert image
        if fail:
            image.fail("lost")
            account.take_back(image_id, "lost")
        else:
            image.draw(f"{image_id.hex}.png", "ab")
            account.settle(image_id)
        return [account, image]

    await store.change(ask, Stream(Account, account_id))
    return (await store.change(tell, Stream(Account, account_id), Stream(Image, image_id))).position


async def some_life(store: EventStore, people: int = 5, prefix: str = "person") -> int:
    """Several accounts with check-ins, pictures and failures; the log's last position."""
    position = 0
    for n in range(people):
        account_id = await register(store, f"{prefix}{n}")
        await check_in(store, account_id)
        await draw(store, account_id)
        await draw(store, account_id, fail=True)
        position = await draw(store, account_id)
    return position


def failing(at: Callable[[Any], bool], version: int = 1) -> Projection:
    """Counts who registers, and cannot fold the events that `at` names."""

    def registered(row: Any, event: Any, position: int) -> UserRow:
        if at(event):
            raise ZeroDivisionError
        return UserRow(event.originator_id, position, event.username, event.email, "", event.timestamp)

    table = Table("failing", UserRow, "account_id")
    return Projection("failing", version, table, {Account.Registered: Touch(of_stream, registered)})


def whole_table(dsn: str, projection: Projection) -> list[tuple[Any, ...]]:
    query = sql.SQL("SELECT {} FROM {} ORDER BY {}").format(
        sql.SQL(", ").join(map(sql.Identifier, projection.table.columns)),
        sql.Identifier(projection.schema, projection.table.name),
        sql.Identifier(projection.table.key),
    )
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchall()


def all_tables(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    return {p.name: whole_table(dsn, p) for p in PROJECTIONS}


def forget_everything(dsn: str) -> None:
    """The read tables as they were before the first event."""
    with psycopg.connect(dsn) as connection:
        for projection in PROJECTIONS:
            table = sql.Identifier(projection.schema, projection.table.name)
            connection.execute(sql.SQL("DELETE FROM {}").format(table))
        connection.execute("UPDATE operations.checkpoints SET position = 0, stopped_at = NULL")
