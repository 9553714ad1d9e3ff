"""Replays all accounts' points from the log alone, and compares them with the read table of balances.

Both are read in the order of account ids, so that one account at a time is in memory. Postgres sorts.
"""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg import sql

from huajuan.audit.connection import fetch_one
from huajuan.audit.ledger import (
    TOPICS,
    PointsAmounts,
    decode_amounts,
    decode_state,
    describe_difference,
    empty_pots,
    find_fault,
    post,
)
from huajuan.audit.replay import COLUMNS, TABLE, table_position
from huajuan.audit.verify import OnProgress

PAGE_ROWS = 5_000
SORT_MEMORY = "64MB"
_SETTINGS = (f"SET LOCAL work_mem = '{SORT_MEMORY}'", "SET LOCAL cursor_tuple_fraction = 1")
_COUNT = "SELECT count(*) FROM log.huajuan_events WHERE topic = ANY(%b) AND notification_id <= %b"
_EVENTS = """
DECLARE events NO SCROLL CURSOR FOR
SELECT uuid_send(originator_id) || int8send(notification_id) || int4send(array_position({topics}, topic))
       || coalesce(state, '')
  FROM log.huajuan_events WHERE topic = ANY({topics}) AND notification_id <= {last}
 ORDER BY originator_id, originator_version
"""
_ROWS = f"""
DECLARE rows NO SCROLL CURSOR FOR SELECT account_id, {COLUMNS} FROM {TABLE} ORDER BY account_id
"""  # noqa: S608  names of our own
_FETCH = f"FETCH {PAGE_ROWS} FROM "
_event = struct.Struct(">16sqi")


class FoldedAccount(NamedTuple):
    """One account computed from the log: the position of its last event, its pots, and the first fault."""

    account: UUID
    position: int
    pots: list[int]
    fault: str | None


class Disagreement(NamedTuple):
    """`position` is the event at which the log contradicts itself, or the account's last one in the table."""

    account_id: UUID
    position: int
    says: str


class ReplayAllOutcome(NamedTuple):
    """The number of accounts that agree, the table's position, and the first account that disagrees."""

    accounts: int
    position: int
    disagreement: Disagreement | None


def count_points_events(connection: psycopg.Connection) -> int:
    return int(fetch_one(connection, _COUNT, TOPICS, table_position(connection))[0])


def replay_all(connection: psycopg.Connection, on_progress: OnProgress = lambda _: None) -> ReplayAllOutcome:
    """Stops at the first disagreement. The connection must be in a snapshot.

    Calls `on_progress` with the number of events read.
    """
    position, accounts = table_position(connection), 0
    _declare_cursors(connection, position)
    folded = _fold_accounts(_fetch_pages(connection, "events"), on_progress)
    shown = _table_rows(_fetch_pages(connection, "rows"))
    for account, here, there in _merge_join(folded, shown):
        if wrong := _disagreement(account, here, there, position):
            return ReplayAllOutcome(accounts, position, wrong)
        accounts += 1
    return ReplayAllOutcome(accounts, position, None)


def _declare_cursors(connection: psycopg.Connection, last: int) -> None:
    """The cursors end with the transaction, so nothing has to be closed."""
    for setting in _SETTINGS:
        connection.execute(setting.encode())
    connection.execute(sql.SQL(_EVENTS).format(topics=sql.Literal(TOPICS), last=sql.Literal(last)))
    connection.execute(_ROWS.encode())


def _fetch_pages(connection: psycopg.Connection, cursor: str) -> Iterator[list[Any]]:
    while rows := connection.execute((_FETCH + cursor).encode(), binary=True).fetchall():
        yield rows


def _fold_accounts(pages: Iterator[list[tuple[bytes]]], on_progress: OnProgress) -> Iterator[FoldedAccount]:
    account, position, pots, fault, done = b"", 0, empty_pots(), None, 0
    for rows in pages:
        for (event,) in rows:
            stream, at, code = _event.unpack_from(event)
            if stream != account:
                if account:
                    yield FoldedAccount(UUID(bytes=account), position, pots, fault)
                account, pots, fault = stream, empty_pots(), None
            position = position if fault else at
            amounts: PointsAmounts = decode_state(decode_amounts, event[_event.size :], at)
            post(pots, TOPICS[code - 1], amounts)
            fault = fault or find_fault(pots, amounts)
        done += len(rows)
        on_progress(done)
    if account:
        yield FoldedAccount(UUID(bytes=account), position, pots, fault)


def _table_rows(pages: Iterator[list[Any]]) -> Iterator[tuple[UUID, list[int]]]:
    for rows in pages:
        for account, *pots in rows:
            yield account, pots


def _merge_join(
    folded: Iterator[FoldedAccount], shown: Iterator[tuple[UUID, list[int]]]
) -> Iterator[tuple[UUID, FoldedAccount | None, list[int] | None]]:
    """Merge join by account id of the log and the table; one of the two may lack an account."""
    here, there = next(folded, None), next(shown, None)
    while here or there:
        if here and there and here.account == there[0]:
            yield here.account, here, there[1]
            here, there = next(folded, None), next(shown, None)
        elif there is None or (here and here.account < there[0]):
            assert here  # noqa: S101  one of the two exists
            yield here.account, here, None
            here = next(folded, None)
        else:
            yield there[0], None, there[1]
            there = next(shown, None)


def _disagreement(
    account: UUID, folded: FoldedAccount | None, shown: list[int] | None, position: int
) -> Disagreement | None:
    if folded and folded.fault:
        return Disagreement(account, folded.position, f"the log contradicts itself: {folded.fault}")
    wrong = describe_difference(folded and folded.pots, shown)
    return Disagreement(account, folded.position if folded else position, wrong) if wrong else None
