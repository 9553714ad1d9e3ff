"""Replays points from the log alone, of one account or of all, and compares them with the table of balances.

All accounts are read in the order of their ids, so that one at a time is in memory. Postgres sorts.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import psycopg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg import sql

from huajuan.audit.connection import (
    AuditError,
    fetch_all,
    fetch_one,
    read_log_head,
    stream_ids,
    unreadable_event,
)
from huajuan.audit.ledger import (
    AVAILABLE,
    HELD,
    POTS,
    TOPICS,
    PointsAmounts,
    PointsEvent,
    decode_amounts,
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
OnProgress = Callable[[int], None]
_decode_text = msgspec.json.Decoder(str).decode
PAGE_ROWS = 5_000
SORT_MEMORY = "64MB"
_SETTINGS = (f"SET LOCAL work_mem = '{SORT_MEMORY}'", "SET LOCAL cursor_tuple_fraction = 1")
_COUNT = "SELECT count(*) FROM log.huajuan_events WHERE topic = ANY(%b) AND notification_id <= %b"
_ALL_EVENTS = """
DECLARE events NO SCROLL CURSOR FOR
SELECT uuid_send(originator_id) || int8send(notification_id) || int4send(array_position({topics}, topic))
       || coalesce(state, '')
  FROM log.huajuan_events WHERE topic = ANY({topics}) AND notification_id <= {last}
 ORDER BY originator_id, originator_version
"""
_ALL_ROWS = f"""
DECLARE rows NO SCROLL CURSOR FOR SELECT account_id, {COLUMNS} FROM {TABLE} ORDER BY account_id
"""  # noqa: S608  names of our own
_FETCH = f"FETCH {PAGE_ROWS} FROM "
_event = struct.Struct(">16sqi")


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
    rows = fetch_all(connection, _REGISTERED_AT, position)
    return rows[0][0] if rows else None


def is_registered_at(connection: psycopg.Connection, account: UUID, last: int = _LAST_POSSIBLE) -> bool:
    """Whether the account was registered at or before the position `last`."""
    return bool(fetch_all(connection, _REGISTERED, account, last))


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
        self._reasons = _ReasonDecryptor(connection, account)
        self._pots = empty_pots()
        self._pots_at_table: list[int] | None = None
        self._fault: str | None = None

    def entries(self) -> Iterator[LedgerEntry]:
        version = 0
        while rows := fetch_all(
            self._connection, _EVENTS, self._account, version, self.last, TOPICS, PAGE_EVENTS
        ):
            for version, position, topic, state in rows:
                yield self._entry(version, position, topic, state)

    def _entry(self, version: int, position: int, topic: str, state: bytes) -> LedgerEntry:
        event, before = decode_state(decode_points_event, state, position), self._pots[AVAILABLE]
        post(self._pots, topic, event)
        if not self._fault and (fault := find_fault(self._pots, event)):
            self._fault = f"at position {position} {fault}"
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
        rows = [list(row) for row in fetch_all(self._connection, _TABLE_ROW, self._account)]
        wrong = describe_difference(self._pots_at_table, rows[0] if rows else None)
        comparison = f"disagrees: {wrong}" if wrong else "agrees"
        return not wrong, f"table {comparison} (at position {self._table_at})"


class _ReasonDecryptor:
    """Decrypts the reasons in one account's events, while the account's personal key exists."""

    def __init__(self, connection: psycopg.Connection, account: UUID) -> None:
        self._account = account
        rows = fetch_all(connection, _KEY, account)
        self._key = AESGCM(rows[0][0]) if rows else None

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
    shown = ((account, pots) for rows in _fetch_pages(connection, "rows") for account, *pots in rows)
    for account, here, there in _merge_join(folded, shown):
        if wrong := _disagreement(account, here, there, position):
            return ReplayAllOutcome(accounts, position, wrong)
        accounts += 1
    return ReplayAllOutcome(accounts, position, None)


def _declare_cursors(connection: psycopg.Connection, last: int) -> None:
    """The cursors end with the transaction, so nothing has to be closed."""
    for setting in _SETTINGS:
        connection.execute(setting.encode())
    connection.execute(sql.SQL(_ALL_EVENTS).format(topics=sql.Literal(TOPICS), last=sql.Literal(last)))
    connection.execute(_ALL_ROWS.encode())


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
