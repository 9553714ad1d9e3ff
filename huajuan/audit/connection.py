"""A connection that can only read, and whose failures are told in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from huajuan.audit.errors import AuditError
from huajuan.event_store.stream_ids import StreamIds
from huajuan.postgres.connect import connect_blocking

_READ_ONLY = "SET default_transaction_read_only = on"
_STREAM_KEY = "SELECT stream_key FROM operations.installation"
_HEAD = "SELECT notification_id, coalesce(chain, '') FROM log.huajuan_events ORDER BY notification_id DESC LIMIT 1"
BEFORE_THE_FIRST = (0, b"")


@contextmanager
def reading(dsn: str) -> Iterator[psycopg.Connection]:
    """Autocommitting. Raises `AuditError` for whatever goes wrong with the database inside."""
    try:
        with connect_blocking(dsn, _READ_ONLY) as connection:
            yield connection
    except psycopg.errors.UndefinedTable as error:
        raise AuditError("nothing was ever served from this database: it lacks the tables") from error
    except psycopg.Error as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise AuditError(f"the database failed: {reason}") from error


def hold_still(connection: psycopg.Connection) -> None:
    """All that is read from here on is of the same moment, whatever is written meanwhile.

    The transaction ends with the connection: who is told to stop in the middle of a query can end nothing else.
    """
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")


def stream_ids(connection: psycopg.Connection) -> StreamIds:
    return StreamIds(one(connection, _STREAM_KEY)[0])


def newest(connection: psycopg.Connection) -> tuple[int, bytes]:
    """Position and chain of the log's last event."""
    return connection.execute(_HEAD, binary=True).fetchone() or BEFORE_THE_FIRST


def one(connection: psycopg.Connection, query: str, *values: Any) -> tuple[Any, ...]:
    """The only row of a query that has one."""
    row = connection.execute(query.encode(), values, prepare=True, binary=True).fetchone()
    if row is None:
        raise AuditError("the log's tables have not been made")
    return row
