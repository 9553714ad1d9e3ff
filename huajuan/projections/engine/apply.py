"""Applies a batch of events to read tables: load the touched rows, fold in memory, tell what to write."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple
from uuid import UUID

from msgspec.structs import astuple
from psycopg import AsyncConnection

from huajuan.event_store.log_reader import Recorded
from huajuan.projections.engine.projection import NO_SKIPS, Projection, Skips, Touch
from huajuan.projections.engine.table import Table

# COPY is worth its extra round trips from about this many new rows on, and cannot be pipelined.
COPY_ROWS_MIN = 300
Work = list[tuple[Any, Touch, Recorded]]
Rows = dict[Any, tuple[Any, ...]]


class Followed(NamedTuple):
    """A projection, and what it leaves out."""

    projection: Projection
    skips: Skips = NO_SKIPS


class Write(NamedTuple):
    """A statement that is still to be executed, and its values."""

    statement: bytes
    values: tuple[Any, ...]


class Applied(NamedTuple):
    """What is to be written, and whose rows of which schema are touched by it."""

    writes: list[Write]
    accounts: dict[str, set[UUID]]


async def apply(
    connection: AsyncConnection, followed: Iterable[Followed], batch: Sequence[Recorded]
) -> Applied:
    """Inside the caller's transaction, with the projections' schemas on the search path.

    All tables are read in one round trip; what is to be written is left to the caller, who writes more.
    """
    works = [(one, work) for one in followed if (work := _work(one.projection, batch, one.skips))]
    found = await _load(connection, [(one.projection.table, work) for one, work in works])
    applied = Applied([], {})
    for (one, work), before in zip(works, found, strict=True):
        table = one.projection.table
        rows = {key: table.row(*row) for key, row in before.items()}
        after = fold_rows(rows, work, one.skips)
        applied.writes.extend(await _writes(connection, table, before, after))
        applied.accounts[one.projection.schema] = _accounts(table, before, after)
    return applied


def _accounts(table: Table[Any], before: Rows, after: Mapping[Any, Any]) -> set[UUID]:
    """Whose rows these are and were; nobody's where a table knows no accounts."""
    if table.account_at is None:
        return set()
    return {row[table.account_at] for row in before.values()} | {
        row.account_id for row in after.values() if row
    }


def _work(projection: Projection, batch: Iterable[Recorded], skips: Skips = NO_SKIPS) -> Work:
    touches, left_out = projection.touches, skips.positions
    return [
        (touch.key(recorded.event, recorded.position), touch, recorded)
        for recorded in batch
        if (touch := touches.get(type(recorded.event))) and recorded.position not in left_out
    ]


def fold_rows(rows: dict[Any, Any], work: Work, skips: Skips = NO_SKIPS) -> dict[Any, Any]:
    """The rows as they stand after the events; `None` for one that is gone."""
    for key, touch, recorded in work:
        row = rows.get(key)
        try:
            rows[key] = touch.fold(row, recorded.event, recorded.position)
        except Exception:
            if row is not None or key not in skips.streams:
                raise
    return rows


async def _load(connection: AsyncConnection, works: Sequence[tuple[Table[Any], Work]]) -> list[Rows]:
    """The touched rows of each table as they stand, by their keys."""
    asked = []
    async with connection.pipeline() if len(works) > 1 else nullcontext():
        for table, work in works:
            keys = list({key for key, _, _ in work})
            asked.append(await connection.execute(table.select.encode(), (keys,), prepare=True, binary=True))
        found = [await cursor.fetchall() for cursor in asked]
    return [{row[table.key_at]: row for row in rows} for (table, _), rows in zip(works, found, strict=True)]


async def _writes(
    connection: AsyncConnection, table: Table[Any], before: Rows, after: dict[Any, Any]
) -> list[Write]:
    new, changed, gone = _differences(before, after)
    writes = []
    if gone:
        writes.append(Write(table.delete.encode(), (gone,)))
    if changed:
        writes.append(Write(table.update.encode(), _columns(changed)))
    if len(new) >= COPY_ROWS_MIN:
        await _copy(connection, table, new)
    elif new:
        writes.append(Write(table.insert.encode(), _columns(new)))
    return writes


def _differences(
    before: Rows, after: dict[Any, Any]
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], list[Any]]:
    """New rows, changed rows, and the keys of rows that are gone."""
    new, changed, gone = [], [], []
    for key, row in after.items():
        was, now = before.get(key), row and astuple(row)
        if now is None:
            gone += [key] if was else []
        elif was is None:
            new.append(now)
        elif now != was:
            changed.append(now)
    return new, changed, gone


def _columns(rows: Sequence[tuple[Any, ...]]) -> tuple[list[Any], ...]:
    return tuple(map(list, zip(*rows, strict=True)))


async def _copy(connection: AsyncConnection, table: Table[Any], rows: Iterable[tuple[Any, ...]]) -> None:
    async with connection.cursor() as cursor, cursor.copy(table.copy.encode()) as copy:
        copy.set_types(table.types)
        for row in rows:
            await copy.write_row(row)
