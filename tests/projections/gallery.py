"""Sample history in the log, and the rows of whole read tables."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from huajuan.domain.account import Account
from huajuan.domain.image import Image, ImageParameters
from huajuan.event_store.loader import Stream
from huajuan.event_store.log_reader import RecordedEvent
from huajuan.event_store.store import EventStore, open_event_store
from huajuan.event_store.writer import EventStoreLimits
from huajuan.postgres.connect import open_pool
from huajuan.projections.engine.fold import find_work, fold_rows
from huajuan.projections.engine.projection import Handler, Projection, ProjectionLimits, of_stream
from huajuan.projections.engine.runner import Projector, open_projector
from huajuan.projections.engine.table import Table
from huajuan.projections.rebuild.schemas import create_read_tables
from huajuan.projections.registry import PROJECTIONS
from huajuan.projections.users import UserRow
from tests.event_store.helpers import check_in, now, register

SUN = ImageParameters("sun", 220, 200, 30, "DDIM", "7")
SECONDS_MAX = 20


@asynccontextmanager
async def projecting(
    dsn: str, projections: tuple[Projection, ...] = PROJECTIONS, **limits: Any
) -> AsyncIterator[tuple[EventStore, Projector]]:
    create_read_tables(dsn, projections)
    async with (
        open_pool(dsn, 4) as pool,
        open_event_store(dsn, pool, now, EventStoreLimits()) as store,
        open_projector(dsn, store, projections, ProjectionLimits(**limits)) as projector,
    ):
        yield store, projector


async def draw_image(store: EventStore, account_id: UUID, *, fail: bool = False) -> int:
    """Request and outcome at once. Returns the position after the outcome."""
    image_id = uuid4()

    def request(account: Account | None):  # type: ignore[no-untyped-def]
        assert account
        account.hold(image_id, 20)
        return [account, Image.request(image_id, account_id, SUN, 20, now() + timedelta(minutes=5))]

    def settle(account: Account | None, image: Image | None):  # type: ignore[no-untyped-def]
        assert account
        assert image
        if fail:
            image.fail("lost")
            account.return_points(image_id, "lost")
        else:
            image.draw(f"{image_id.hex}.png", "ab")
            account.settle(image_id)
        return [account, image]

    await store.change(request, Stream(Account, account_id))
    return (await store.change(settle, Stream(Account, account_id), Stream(Image, image_id))).position


async def append_history(store: EventStore, people: int = 5, prefix: str = "person") -> int:
    """Several accounts with check-ins, images and failures. Returns the last position of the log."""
    position = 0
    for n in range(people):
        account_id = await register(store, f"{prefix}{n}")
        await check_in(store, account_id)
        await draw_image(store, account_id)
        await draw_image(store, account_id, fail=True)
        position = await draw_image(store, account_id)
    return position


def failing_projection(at: Callable[[Any], bool], version: int = 1) -> Projection:
    """Has a row for each registration, and cannot fold the events for which `at` is true."""

    def registered(row: Any, event: Any, position: int) -> UserRow:
        if at(event):
            raise ZeroDivisionError
        return UserRow(event.originator_id, position, event.username, event.email, "", event.timestamp)

    table = Table("failing", UserRow, "account_id")
    return Projection("failing", version, table, {Account.Registered: Handler(of_stream, registered)})


def fold_events(projection: Projection, events: Iterable[RecordedEvent]) -> dict[Any, Any]:
    """The rows that these events fold to, by key."""
    rows: dict[Any, Any] = {}
    fold_rows(rows, find_work(projection, [(position, type(event), event) for position, event in events]))
    return {key: row for key, row in rows.items() if row is not None}


def read_table(dsn: str, projection: Projection) -> list[tuple[Any, ...]]:
    query = sql.SQL("SELECT {} FROM {} ORDER BY {}").format(
        sql.SQL(", ").join(map(sql.Identifier, projection.table.columns)),
        sql.Identifier(projection.schema, projection.table.name),
        sql.Identifier(projection.table.key),
    )
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchall()


def read_all_tables(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    return {p.name: read_table(dsn, p) for p in PROJECTIONS}


def reset_read_tables(dsn: str) -> None:
    """Empties the read tables and resets the checkpoints."""
    with psycopg.connect(dsn) as connection:
        for projection in PROJECTIONS:
            table = sql.Identifier(projection.schema, projection.table.name)
            connection.execute(sql.SQL("DELETE FROM {}").format(table))
        connection.execute("UPDATE operations.checkpoints SET position = 0, stopped_at = NULL")
