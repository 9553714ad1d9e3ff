"""Read-only database connections of an audit, with its errors and limits."""

import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeVar

import msgspec
import psycopg

from huajuan.event_store.stream_ids import StreamIds
from huajuan.postgres.connect import connect_blocking
from huajuan.runtime.errors import OperatorError

T = TypeVar("T")
_READ_ONLY = "SET default_transaction_read_only = on"
_STREAM_KEY = "SELECT stream_key FROM operations.installation"
_HEAD = """
SELECT notification_id, coalesce(chain, '') FROM log.huajuan_events ORDER BY notification_id DESC LIMIT 1
"""
EMPTY_LOG_HEAD = (0, b"")


class AuditLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the audits that a server runs: threads, queue length, and seconds."""

    threads_max: int = 2
    waiting_max: int = 20
    connect_seconds_max: float = 5
    replay_seconds_max: float = 20
    verify_seconds_max: float = 60


class AuditError(OperatorError):
    """The audit cannot be done; the message is one line with the reason."""


class AuditTimeout(AuditError):
    """The audit took longer than its limit."""


class AuditGap(AuditError):
    """Events of a stream are missing before the one at the position, so its state cannot be computed."""

    def __init__(self, position: int) -> None:
        where = f"events are missing from the stream before the one at position {position}"
        super().__init__(f"{where}; run verify to find the damage")


class UnreadableLine(Exception):
    """A line of an export is not a valid row; the message is the reason."""


def unreadable_event(position: int) -> AuditError:
    """The error for an event that this program cannot have written."""
    return AuditError(f"the event at position {position} cannot be read; run verify to find the damage")


def stop_after(seconds_max: float, items: Iterable[T]) -> Iterator[T]:
    """Yields the items; raises `AuditTimeout` at the first item after `seconds_max`."""
    deadline = time.monotonic() + seconds_max
    for item in items:
        if time.monotonic() > deadline:
            raise AuditTimeout(f"it took longer than {seconds_max:g} seconds")
        yield item


@contextmanager
def open_read_only(dsn: str) -> Iterator[psycopg.Connection]:
    """An autocommitting connection. Database errors inside the block are raised as `AuditError`."""
    try:
        # Closed without a rollback, which would fail and be logged after a signal in the middle of a query.
        with closing(connect_blocking(dsn, _READ_ONLY)) as connection:
            yield connection
    except psycopg.errors.UndefinedTable as error:
        raise AuditError("no server was ever started on this database: it has no tables") from error
    except psycopg.Error as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise AuditError(f"the database failed: {reason}") from error


def begin_snapshot(connection: psycopg.Connection) -> None:
    """All later queries of the connection read the same snapshot.

    The transaction ends with the connection: after a signal in the middle of a query nothing else could end
    it.
    """
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")


def stream_ids(connection: psycopg.Connection) -> StreamIds:
    return StreamIds(fetch_one(connection, _STREAM_KEY)[0])


def read_log_head(connection: psycopg.Connection) -> tuple[int, bytes]:
    """Position and chain link of the last event; `EMPTY_LOG_HEAD` for an empty log."""
    return connection.execute(_HEAD, binary=True).fetchone() or EMPTY_LOG_HEAD


def fetch_all(connection: psycopg.Connection, query: str, *values: Any) -> list[Any]:
    """The rows of the query's result."""
    return connection.execute(query.encode(), values, prepare=True, binary=True).fetchall()


def fetch_one(connection: psycopg.Connection, query: str, *values: Any) -> tuple[Any, ...]:
    """The only row of the query's result."""
    for row in fetch_all(connection, query, *values):
        return tuple(row)
    raise AuditError("the tables of the log do not exist")
