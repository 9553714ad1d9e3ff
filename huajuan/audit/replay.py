"""One account's points, folded from the log alone and held against the table."""

from collections.abc import Iterator
from typing import NamedTuple
from uuid import UUID

import psycopg

from huajuan.audit.connection import newest, stream_ids
from huajuan.audit.errors import AuditError
from huajuan.audit.ledger import (
    AVAILABLE,
    HELD,
    POTS,
    TOPICS,
    difference,
    fact_of,
    fault_of,
    nothing,
    post,
    read_state,
    unconserved,
)
from huajuan.audit.reasons import Reasons
from huajuan.audit.table import shown_for, table_position

PAGE_EVENTS = 1_000
_EVENTS = """
SELECT originator_version, notification_id, topic, state FROM log.huajuan_events
 WHERE originator_id = %b AND originator_version > %b AND notification_id <= %b AND topic = ANY(%b)
 ORDER BY originator_version LIMIT %b
"""
_REGISTERED = """
SELECT FROM log.huajuan_events WHERE originator_id = %b AND topic = 'account.registered' AND notification_id <= %b
"""
_REGISTERED_AT = """
SELECT originator_id FROM log.huajuan_events WHERE notification_id = %b AND topic = 'account.registered'
"""
_LAST_POSSIBLE = 2**63 - 1


class Entry(NamedTuple):
    """One event that touched an account's points. `image_id` and `actor` are ids in the log.

    `reason` is `(erased)` where somebody typed one for a person who is erased by now.
    """

    position: int
    time: str
    what: str
    change: int
    balance: int
    held: int
    reason: str | None
    image_id: UUID | None
    actor: UUID | None
    correlation_id: str | None


class Outcome(NamedTuple):
    """What the entries came to. `agrees` is `None` where there is no table to compare with; `says` is the verdict.

    `unconserved` is granted - available - held - spent - deducted - forfeited.
    """

    account_id: UUID
    position: int
    pots: dict[str, int]
    unconserved: int
    agrees: bool | None
    says: str

    @property
    def is_sound(self) -> bool:
        return self.agrees is not False and not self.unconserved


def account_of(connection: psycopg.Connection, name: str) -> UUID:
    """By username, or by account id where the person is erased. Raises `AuditError` for nobody."""
    account = stream_ids(connection).account(name)
    if is_registered_by(connection, account):
        return account
    try:
        account = UUID(name)
    except ValueError:
        raise AuditError(f"there is no account {name!r}") from None
    if not is_registered_by(connection, account):
        raise AuditError(f"there is no account with the id {account}")
    return account


def account_registered_at(connection: psycopg.Connection, position: int) -> UUID | None:
    """By the position of the registration, which is the account's id on the wire."""
    row = connection.execute(_REGISTERED_AT.encode(), (position,)).fetchone()
    return row[0] if row else None


def is_registered_by(connection: psycopg.Connection, account: UUID, last: int = _LAST_POSSIBLE) -> bool:
    """Whether the account is on record at or before the position `last`."""
    return connection.execute(_REGISTERED.encode(), (account, last)).fetchone() is not None


class Replay:
    """Goes through an account's events up to a position; then `outcome` tells what they came to.

    The connection must hold still.
    """

    def __init__(self, connection: psycopg.Connection, account: UUID, last: int | None = None) -> None:
        self._connection = connection
        self._account = account
        self.last = newest(connection)[0] if last is None else last
        self._table_at = table_position(connection)
        self._reasons = Reasons(connection, account)
        self._pots = nothing()
        self._pots_at_table: list[int] | None = None
        self._fault: str | None = None

    def entries(self) -> Iterator[Entry]:
        for version_page in self._pages():
            for version, position, topic, state in version_page:
                yield self._entry(version, position, topic, state)

    def _pages(self) -> Iterator[list[tuple[int, int, str, bytes]]]:
        version = 0
        while rows := self._page(version):
            yield rows
            version = rows[-1][0]

    def _page(self, after: int) -> list[tuple[int, int, str, bytes]]:
        values = (self._account, after, self.last, TOPICS, PAGE_EVENTS)
        return self._connection.execute(_EVENTS.encode(), values, prepare=True, binary=True).fetchall()

    def _entry(self, version: int, position: int, topic: str, state: bytes) -> Entry:
        fact, before = read_state(fact_of, state, position), self._pots[AVAILABLE]
        post(self._pots, topic, fact)
        self._fault = self._fault or _placed(fault_of(self._pots, fact), position)
        if position <= self._table_at:
            self._pots_at_table = list(self._pots)
        return Entry(
            position,
            fact.timestamp,
            topic.removeprefix("account."),
            self._pots[AVAILABLE] - before,
            self._pots[AVAILABLE],
            self._pots[HELD],
            self._reasons.of(version, position, topic, fact),
            fact.image_id,
            None if fact.actor == self._account else fact.actor,
            fact.correlation_id,
        )

    def outcome(self) -> Outcome:
        agrees, says = self._verdict()
        pots = dict(zip(POTS, self._pots, strict=True))
        return Outcome(self._account, self.last, pots, unconserved(self._pots), agrees, says)

    def _verdict(self) -> tuple[bool | None, str]:
        if self._fault:
            return False, f"the log disagrees with itself: {self._fault}"
        if self._table_at > self.last:
            return None, f"no table to compare with: it has gone on to position {self._table_at}"
        wrong = difference(self._pots_at_table, shown_for(self._connection, self._account))
        return (
            not wrong,
            f"table {f'disagrees: {wrong}' if wrong else 'agrees'} (at position {self._table_at})",
        )


def _placed(fault: str | None, position: int) -> str | None:
    return fault and f"at position {position} {fault}"
