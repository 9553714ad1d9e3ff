"""Applies a batch of events to a read table: load the touched rows, fold in memory, write what changed."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any

from msgspec.structs import astuple
from psycopg import AsyncConnection

from huajuan.event_store.reading import Recorded
from huajuan.projections.projection import NO_SKIPS, Projection, Skips, Touch
from huajuan.projections.table import Table

# COPY is worth its extra round trips from about this many new rows on, and cannot be pipelined.
COPY_ROWS_MIN = 300
Work = list[tuple[Any, Touch, Recorded]]


async def apply(
    connection: AsyncConnection, projection: Projection, batch: Iterable[Recorded], skips: Skips = NO_SKIPS
) -> None:
    """Inside the caller's transaction, with the projection's schema as the search path."""
    work = _work(projection, batch)
    if not work:
        return
    table = projection.table
    before = await _load(connection, table, {key for key, _, _ in work})
    after = fold_rows({key: table.row(*row) for key, row in before.items()}, work, skips)
    await _write(connection, table, before, after)


def _work(projection: Projection, batch: Iterable[Recorded]) -> Work:
    touches = projection.touches
    return [
        (touch.key(recorded.event, recorded.position), touch, recorded)
        for recorded in batch
        if (touch := touches.get(type(recorded.event)))
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


async def _load(connection: AsyncConnection, table: Table[Any], keys: set[Any]) -> dict[Any, tuple[Any, ...]]:
    cursor = await connection.execute(table.select.encode(), (list(keys),), prepare=True, binary=True)
    return {row[table.key_at]: row for row in await cursor.fetchall()}


async def _write(
    connection: AsyncConnection,
    table: Table[Any],
    before: dict[Any, tuple[Any, ...]],
    after: dict[Any, Any],
) -> None:
    new, changed, gone = _differences(before, after)
    if len(new) >= COPY_ROWS_MIN:
        await _copy(connection, table, new)
        new = []
    several = sum(map(bool, (new, changed, gone))) > 1
    async with connection.pipeline() if several else nullcontext():
        if gone:
            await connection.execute(table.delete.encode(), (gone,), prepare=True)
        if changed:
            await connection.execute(table.update.encode(), _columns(changed), prepare=True)
        if new:
            await connection.execute(table.insert.encode(), _columns(new), prepare=True)


def _differences(
    before: dict[Any, tuple[Any, ...]], after: dict[Any, Any]
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
