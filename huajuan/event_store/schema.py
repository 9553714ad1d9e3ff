"""Makes the log's tables: the library's own, then what we lay over them."""

import hashlib
import os
from importlib.resources import files

import psycopg
from eventsourcing.postgres import (
    ConnectionPool,
    PostgresAggregateRecorder,
    PostgresApplicationRecorder,
    PostgresDatastore,
)
from psycopg.rows import DictRow, dict_row

EVENTS = "log.huajuan_events"
EVENTS_CHANNEL = "huajuan_events"
_SCHEMA_LOCK = 4711


def create_schema(dsn: str) -> None:
    """Make or bring up to date the log's schema. Any number of processes may call this at once."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_SCHEMA_LOCK,))
        if not _is_current(connection):
            _make(connection, dsn)


def _own_statements() -> str:
    folder = files("huajuan.event_store")
    return "\n".join(folder.joinpath(name).read_text("utf-8") for name in ("schema.sql", "queue.sql"))


def _fingerprint() -> str:
    return hashlib.sha256(_own_statements().encode()).hexdigest()


def _is_current(connection: psycopg.Connection) -> bool:
    made = connection.execute("SELECT to_regclass('operations.installation') IS NOT NULL").fetchone()
    if made is None or not made[0]:
        return False
    row = connection.execute("SELECT schema FROM operations.installation").fetchone()
    return row is not None and row[0] == _fingerprint()


def _make(connection: psycopg.Connection, dsn: str) -> None:
    connection.execute("CREATE SCHEMA IF NOT EXISTS log")
    connection.execute("CREATE SCHEMA IF NOT EXISTS operations")
    with _Datastore(dsn) as datastore:
        PostgresApplicationRecorder(datastore, events_table_name="huajuan_events").create_table()
        PostgresAggregateRecorder(datastore, events_table_name="huajuan_snapshots").create_table()
    with connection.transaction():
        connection.execute(_own_statements().encode())
        connection.execute(
            "INSERT INTO operations.installation (stream_key, schema) VALUES (%s, %s) "
            "ON CONFLICT (one) DO UPDATE SET schema = EXCLUDED.schema",
            (os.urandom(32), _fingerprint()),
        )


class _Datastore(PostgresDatastore):
    """The library's datastore on any connection string, where its own takes five parts of one."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dbname="", host="", port="", user="", password="", schema="log")
        self.pool = ConnectionPool[psycopg.Connection[DictRow]](
            dsn,
            connection_class=psycopg.Connection[DictRow],
            kwargs={"row_factory": dict_row},
            min_size=1,
            max_size=2,
            open=False,
            configure=self.after_connect_func(),
        )
