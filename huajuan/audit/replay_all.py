"""Every account's points, folded from the log alone and held against the table: both read in the order of accounts.

So no more than one account is ever in memory, whatever their number; the sorting is Postgres's, within its bound.
"""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg import sql

from huajuan.audit.chain_walk import Told
from huajuan.audit.connection import one
from huajuan.audit.ledger import TOPICS, Amounts, amounts_of, difference, fault_of, nothing, post, read_state
from huajuan.audit.table import COLUMNS, TABLE, table_position

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


class Folded(NamedTuple):
    """One account as the log has it: its last event's position, its pots, and what cannot be, if anything."""

    account: UUID
    position: int
    pots: list[int]
    fault: str | None


class Disagreement(NamedTuple):
    """`position` is the event at which the log disagrees with itself, or the account's last one in the table."""

    account_id: UUID
    position: int
    says: str


class Audited(NamedTuple):
    """How many accounts were looked at, up to the table's position, and the first that disagrees."""

    accounts: int
    position: int
    disagreement: Disagreement | None


def events_to_replay(connection: psycopg.Connection) -> int:
    return int(one(connection, _COUNT, TOPICS, table_position(connection))[0])


def replay_all(connection: psycopg.Connection, told: Told = lambda _: None) -> Audited:
    """Stops at the first disagreement. The connection must hold still."""
    position, accounts = table_position(connection), 0
    _declare(connection, position)
    folded, shown = _folded(_fetched(connection, "events"), told), _shown(_fetched(connection, "rows"))
    for account, here, there in _side_by_side(folded, shown):
        if wrong := _disagreement(account, here, there, position):
            return Audited(accounts, position, wrong)
        accounts += 1
    return Audited(accounts, position, None)


def _declare(connection: psycopg.Connection, last: int) -> None:
    """They are plain statements and end with the transaction: nothing has to be closed, however this ends."""
    for setting in _SETTINGS:
        connection.execute(setting.encode())
    connection.execute(sql.SQL(_EVENTS).format(topics=sql.Literal(TOPICS), last=sql.Literal(last)))
    connection.execute(_ROWS.encode())


def _fetched(connection: psycopg.Connection, cursor: str) -> Iterator[list[Any]]:
    while rows := connection.execute((_FETCH + cursor).encode(), binary=True).fetchall():
        yield rows


def _folded(pages: Iterator[list[tuple[bytes]]], told: Told) -> Iterator[Folded]:
    account, position, pots, fault, done = b"", 0, nothing(), None, 0
    for rows in pages:
        for (event,) in rows:
            stream, at, code = _event.unpack_from(event)
            if stream != account:
                if account:
                    yield Folded(UUID(bytes=account), position, pots, fault)
                account, pots, fault = stream, nothing(), None
            position = position if fault else at
            amounts: Amounts = read_state(amounts_of, event[_event.size :], at)
            post(pots, TOPICS[code - 1], amounts)
            fault = fault or fault_of(pots, amounts)
        done += len(rows)
        told(done)
    if account:
        yield Folded(UUID(bytes=account), position, pots, fault)


def _shown(pages: Iterator[list[Any]]) -> Iterator[tuple[UUID, list[int]]]:
    for rows in pages:
        for account, *pots in rows:
            yield account, pots


def _side_by_side(
    folded: Iterator[Folded], shown: Iterator[tuple[UUID, list[int]]]
) -> Iterator[tuple[UUID, Folded | None, list[int] | None]]:
    """Accounts in their order, each as the log has it and as the table does; one of the two may lack it."""
    here, there = next(folded, None), next(shown, None)
    while here or there:
        if here and there and here.account == there[0]:
            yield here.account, here, there[1]
            here, there = next(folded, None), next(shown, None)
        elif there is None or (here and here.account < there[0]):
            assert here  # noqa: S101  one of the two is there
            yield here.account, here, None
            here = next(folded, None)
        else:
            yield there[0], None, there[1]
            there = next(shown, None)


def _disagreement(
    account: UUID, folded: Folded | None, shown: list[int] | None, position: int
) -> Disagreement | None:
    if folded and folded.fault:
        return Disagreement(account, folded.position, f"the log disagrees with itself: {folded.fault}")
    wrong = difference(folded and folded.pots, shown)
    return Disagreement(account, folded.position if folded else position, wrong) if wrong else None
