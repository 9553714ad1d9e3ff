"""Applies a batch of events to read tables: load the rows, fold in memory, return the statements to write."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple
from uuid import UUID

from msgspec.structs import astuple
from psycopg import AsyncConnection

from huajuan.event_store.log_reader import RecordedEvent
from huajuan.projections.engine.projection import NO_SKIPS, Handler, Projection, Skips
from huajuan.projections.engine.table import Table

# From about this many new rows on COPY is faster than INSERT, although it needs round trips of its own.
COPY_ROWS_MIN = 300
Work = list[tuple[Any, Handler, RecordedEvent]]
Rows = dict[Any, tuple[Any, ...]]


class ActiveProjection(NamedTuple):
    """A projection and the events that it skips."""

    projection: Projection
    skips: Skips = NO_SKIPS


class PendingWrite(NamedTuple):
    """A statement that is not executed yet, and its values."""

    statement: bytes
    values: tuple[Any, ...]


class AppliedBatch(NamedTuple):
    """The statements to execute, and the accounts of the changed rows by schema."""

    writes: list[PendingWrite]
    accounts: dict[str, set[UUID]]


async def apply_batch(
    connection: AsyncConnection, active: Iterable[ActiveProjection], batch: Sequence[RecordedEvent]
) -> AppliedBatch:
    """Inside the caller's transaction, with the projections' schemas on the search path.

    The rows of all tables are loaded in one round trip. The caller executes the writes.
    """
    works = [(one, work) for one in active if (work := find_work(one.projection, batch, one.skips))]
    found = await _load(connection, [(one.projection.table, work) for one, work in works])
    applied = AppliedBatch([], {})
    for (one, work), before in zip(works, found, strict=True):
        table = one.projection.table
        after = fold_rows({key: table.row(*row) for key, row in before.items()}, work, one.skips)
        applied.writes.extend(await _prepare_writes(connection, table, before, after))
        applied.accounts[one.projection.schema] = _accounts(table, before, after)
    return applied


def _accounts(table: Table[Any], before: Rows, after: Mapping[Any, Any]) -> set[UUID]:
    """The accounts of the rows before and after; none if the table has no account column."""
    if table.account_at is None:
        return set()
    return {row[table.account_at] for row in before.values()} | {
        row.account_id for row in after.values() if row
    }


def find_work(projection: Projection, batch: Iterable[RecordedEvent], skips: Skips = NO_SKIPS) -> Work:
    """The events of the batch that the projection folds, with the keys of their rows."""
    handlers, skipped = projection.handlers, skips.positions
    return [
        (handler.key(recorded.event, recorded.position), handler, recorded)
        for recorded in batch
        if (handler := handlers.get(type(recorded.event))) and recorded.position not in skipped
    ]


def fold_rows(rows: dict[Any, Any], work: Work, skips: Skips = NO_SKIPS) -> dict[Any, Any]:
    """The rows after the events; `None` for a deleted row.

    A rebuild has a loop of its own for speed (`rebuild/row_cache.py`): it keeps rows between batches and
    stores for each whether it has changed.
    """
    for key, handler, recorded in work:
        row = rows.get(key)
        try:
            rows[key] = handler.fold(row, recorded.event, recorded.position)
        except Exception:
            if row is not None or key not in skips.streams:
                raise
    return rows


async def _load(connection: AsyncConnection, works: Sequence[tuple[Table[Any], Work]]) -> list[Rows]:
    """The current rows of each table that the events change, by key."""
    cursors = []
    async with connection.pipeline() if len(works) > 1 else nullcontext():
        for table, work in works:
            keys = list({key for key, _, _ in work})
            select = table.select.encode()
            cursors.append(await connection.execute(select, (keys,), prepare=True, binary=True))
        found = [await cursor.fetchall() for cursor in cursors]
    return [{row[table.key_at]: row for row in rows} for (table, _), rows in zip(works, found, strict=True)]


async def _prepare_writes(
    connection: AsyncConnection, table: Table[Any], before: Rows, after: dict[Any, Any]
) -> list[PendingWrite]:
    new, changed, deleted = _diff(before, after)
    writes = []
    if deleted:
        writes.append(PendingWrite(table.delete.encode(), (deleted,)))
    if changed:
        writes.append(PendingWrite(table.update.encode(), _columns(changed)))
    if len(new) >= COPY_ROWS_MIN:
        await _copy(connection, table, new)
    elif new:
        writes.append(PendingWrite(table.insert.encode(), _columns(new)))
    return writes


def _diff(
    before: Rows, after: dict[Any, Any]
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], list[Any]]:
    """New rows, changed rows, and the keys of deleted rows."""
    new, changed, deleted = [], [], []
    for key, row in after.items():
        was, now = before.get(key), row and astuple(row)
        if now is None:
            deleted += [key] if was else []
        elif was is None:
            new.append(now)
        elif now != was:
            changed.append(now)
    return new, changed, deleted


def _columns(rows: Sequence[tuple[Any, ...]]) -> tuple[list[Any], ...]:
    return tuple(map(list, zip(*rows, strict=True)))


async def _copy(connection: AsyncConnection, table: Table[Any], rows: Iterable[tuple[Any, ...]]) -> None:
    async with connection.cursor() as cursor, cursor.copy(table.copy.encode()) as copy:
        copy.set_types(table.types)
        for row in rows:
            await copy.write_row(row)
