"""Replays one account's points from the log alone, and compares them with the read table of balances."""

from collections.abc import Iterator
from typing import NamedTuple
from uuid import UUID

import msgspec
import psycopg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from huajuan.audit.connection import AuditError, fetch_one, read_log_head, stream_ids, unreadable_event
from huajuan.audit.ledger import (
    AVAILABLE,
    HELD,
    POTS,
    TOPICS,
    PointsEvent,
    decode_points_event,
    decode_state,
    describe_difference,
    empty_pots,
    find_fault,
    post,
    unconserved,
)
from huajuan.event_store.personal_keys import ERASED, associated_data, decrypt_field
from huajuan.projections.point_balances import POINT_BALANCES

PAGE_EVENTS = 1_000
TABLE = f"{POINT_BALANCES.schema}.{POINT_BALANCES.table.name}"
COLUMNS = ", ".join(POTS)
# For each topic with a personal reason, the event version from which on it is encrypted.
ENCRYPTED_SINCE = {"account.points_granted": 2, "account.points_deducted": 2, "account.check_in_reset": 2}
_EVENTS = """
SELECT originator_version, notification_id, topic, state FROM log.huajuan_events
 WHERE originator_id = %b AND originator_version > %b AND notification_id <= %b AND topic = ANY(%b)
 ORDER BY originator_version LIMIT %b
"""
_REGISTERED = """
SELECT FROM log.huajuan_events
 WHERE originator_id = %b AND topic = 'account.registered' AND notification_id <= %b
"""
_REGISTERED_AT = """
SELECT originator_id FROM log.huajuan_events WHERE notification_id = %b AND topic = 'account.registered'
"""
_KEY = "SELECT key FROM operations.personal_keys WHERE subject_id = %b AND key IS NOT NULL"
_TABLE_POSITION = "SELECT position FROM operations.checkpoints WHERE projection = %b"
_TABLE_ROW = f"SELECT {COLUMNS} FROM {TABLE} WHERE account_id = %b"  # noqa: S608  constants of this module
_LAST_POSSIBLE = 2**63 - 1
_decode_text = msgspec.json.Decoder(str).decode


class LedgerEntry(NamedTuple):
    """One event that changed an account's points. `image_id` and `actor` are stream ids in the log.

    `reason` is `(erased)` if it was typed for a person who was erased since.
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


class ReplayOutcome(NamedTuple):
    """The result of a replay. `agrees` is `None` if there is no table to compare with; `says` explains it.

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


def find_account(connection: psycopg.Connection, name: str) -> UUID:
    """By username, or by account id if the person was erased. Raises `AuditError` if there is none."""
    account = stream_ids(connection).account(name)
    if is_registered_at(connection, account):
        return account
    try:
        account = UUID(name)
    except ValueError:
        raise AuditError(f"there is no account {name!r}") from None
    if not is_registered_at(connection, account):
        raise AuditError(f"there is no account with the id {account}")
    return account


def account_by_registration(connection: psycopg.Connection, position: int) -> UUID | None:
    """The account registered at this position, which is its id in the API."""
    row = connection.execute(_REGISTERED_AT.encode(), (position,)).fetchone()
    return row[0] if row else None


def is_registered_at(connection: psycopg.Connection, account: UUID, last: int = _LAST_POSSIBLE) -> bool:
    """Whether the account was registered at or before the position `last`."""
    return connection.execute(_REGISTERED.encode(), (account, last)).fetchone() is not None


def table_position(connection: psycopg.Connection) -> int:
    """The checkpoint of the balances table: it contains all events up to this position, and no later one."""
    return int(fetch_one(connection, _TABLE_POSITION, POINT_BALANCES.schema)[0])


class Replay:
    """Iterates over an account's events up to a position; then `outcome` gives the result.

    The connection must be in a snapshot.
    """

    def __init__(self, connection: psycopg.Connection, account: UUID, last: int | None = None) -> None:
        self._connection = connection
        self._account = account
        self.last = read_log_head(connection)[0] if last is None else last
        self._table_at = table_position(connection)
        self._reasons = ReasonDecryptor(connection, account)
        self._pots = empty_pots()
        self._pots_at_table: list[int] | None = None
        self._fault: str | None = None

    def entries(self) -> Iterator[LedgerEntry]:
        for page in self._pages():
            for version, position, topic, state in page:
                yield self._entry(version, position, topic, state)

    def _pages(self) -> Iterator[list[tuple[int, int, str, bytes]]]:
        version = 0
        while rows := self._page(version):
            yield rows
            version = rows[-1][0]

    def _page(self, after: int) -> list[tuple[int, int, str, bytes]]:
        values = (self._account, after, self.last, TOPICS, PAGE_EVENTS)
        return self._connection.execute(_EVENTS.encode(), values, prepare=True, binary=True).fetchall()

    def _entry(self, version: int, position: int, topic: str, state: bytes) -> LedgerEntry:
        event, before = decode_state(decode_points_event, state, position), self._pots[AVAILABLE]
        post(self._pots, topic, event)
        self._fault = self._fault or _with_position(find_fault(self._pots, event), position)
        if position <= self._table_at:
            self._pots_at_table = list(self._pots)
        return LedgerEntry(
            position,
            event.timestamp,
            topic.removeprefix("account."),
            self._pots[AVAILABLE] - before,
            self._pots[AVAILABLE],
            self._pots[HELD],
            self._reasons.decrypt(version, position, topic, event),
            event.image_id,
            None if event.actor == self._account else event.actor,
            event.correlation_id,
        )

    def outcome(self) -> ReplayOutcome:
        agrees, says = self._compare()
        pots = dict(zip(POTS, self._pots, strict=True))
        return ReplayOutcome(self._account, self.last, pots, unconserved(self._pots), agrees, says)

    def _compare(self) -> tuple[bool | None, str]:
        if self._fault:
            return False, f"the log contradicts itself: {self._fault}"
        if self._table_at > self.last:
            return None, f"no table to compare with: its position is already {self._table_at}"
        wrong = describe_difference(self._pots_at_table, _table_row(self._connection, self._account))
        comparison = f"disagrees: {wrong}" if wrong else "agrees"
        return not wrong, f"table {comparison} (at position {self._table_at})"


def _table_row(connection: psycopg.Connection, account: UUID) -> list[int] | None:
    row = connection.execute(_TABLE_ROW.encode(), (account,), binary=True).fetchone()
    return list(row) if row else None


def _with_position(fault: str | None, position: int) -> str | None:
    return fault and f"at position {position} {fault}"


class ReasonDecryptor:
    """Decrypts the reasons in one account's events, while the account's personal key exists."""

    def __init__(self, connection: psycopg.Connection, account: UUID) -> None:
        self._account = account
        row = connection.execute(_KEY.encode(), (account,), binary=True).fetchone()
        self._key = AESGCM(row[0]) if row else None

    def decrypt(self, version: int, position: int, topic: str, event: PointsEvent) -> str | None:
        """Raises `AuditError` if the reason was not encrypted for this event."""
        since = ENCRYPTED_SINCE.get(topic)
        if since is None or event.reason is None:
            return event.reason
        if self._key is None:
            return ERASED
        if event.class_version < since:
            return event.reason
        place = associated_data(self._account, version, "reason")
        try:
            return str(decrypt_field(self._key, place, event.reason, _decode_text))
        except (ValueError, InvalidTag, msgspec.DecodeError):
            raise unreadable_event(position) from None
