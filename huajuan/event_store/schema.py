"""Creates and upgrades the schema of the log: the tables of the library, then our own statements."""

import hashlib
import os
import time
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
import psycopg
from eventsourcing.postgres import (
    ConnectionPool,
    PostgresAggregateRecorder,
    PostgresApplicationRecorder,
    PostgresDatastore,
)
from psycopg.rows import DictRow, dict_row

from huajuan.postgres.connect import PARAMETERS, connect_blocking, prepare_blocking

EVENTS_CHANNEL = "huajuan_events"
_SCHEMA_LOCK = 4711
_SERVING = "huajuan serves "
_FILES = (
    "event_store/sql/renames.sql",
    "event_store/sql/schema.sql",
    "jobs/queue.sql",
    "auth/login_attempts.sql",
)
# Increased by one with every change of these files. It is also the number of the program.
SCHEMA_NUMBER = 2
# The lowest program number that can use this schema. Increased where older programs would fail or do harm.
MINIMUM_PROGRAM = 2
# A killed server of an older program counts as running until its lease expires.
_OLDER_LEASE_SECONDS_MAX = 8.0
_POLL_SECONDS = 0.25
# The row as JSON, because the schema of an older program lacks some columns or has other names.
_MADE = """
SELECT coalesce((made ->> 'schema_number')::int, 0), coalesce((made ->> 'minimum_program')::int, 0),
       coalesce(made ->> 'schema_digest', made ->> 'schema')
  FROM (SELECT to_jsonb(i) - 'stream_key' FROM operations.installation i) AS one(made)
"""
_RECORD = """
INSERT INTO operations.installation (stream_key, schema_digest, schema_number, minimum_program)
VALUES (%s, %s, %s, %s)
ON CONFLICT (one) DO UPDATE SET schema_digest = EXCLUDED.schema_digest,
       schema_number = EXCLUDED.schema_number, minimum_program = EXCLUDED.minimum_program
"""
_CONNECTED_SERVER = """
SELECT application_name FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE 'huajuan serves %' LIMIT 1
"""
# The row as JSON, because an older program calls the expiry `lapses_at`.
_LIVE_SERVER = """
SELECT server ->> 'name' FROM (SELECT to_jsonb(s) AS server FROM operations.servers s) AS one
 WHERE coalesce(server ->> 'expires_at', server ->> 'lapses_at')::timestamptz > clock_timestamp() LIMIT 1
"""


class SchemaUnusable(Exception):
    """This program must not use or upgrade the schema. The message has one line."""


class InstalledSchema(msgspec.Struct, frozen=True):
    """The schema of a database. `minimum_program` is the lowest program number that may use it."""

    number: int
    minimum_program: int
    digest: str


def create_schema(dsn: str, number: int = SCHEMA_NUMBER, minimum_program: int = MINIMUM_PROGRAM) -> None:
    """Creates or upgrades the schema. Any number of processes may call this at once.

    A schema with a higher number is not changed. Raises `SchemaUnusable` where it does not allow this
    program, or where a server is connected that could not use the upgraded schema.
    """
    with connect_blocking(dsn) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_SCHEMA_LOCK,))
        made = installed_schema(connection)
        if made is None or made.number < number or (made.number == number and made.digest != own_digest()):
            if made and made.number < minimum_program:
                _refuse_beside_older_server(connection)
            _make(connection, dsn, number, minimum_program)
        elif made.minimum_program > number:
            raise SchemaUnusable(
                f"the schema has the number {made.number} and needs a program of number "
                f"{made.minimum_program} or higher, this one is {number}: start the newer program"
            )


def installed_schema(connection: psycopg.Connection) -> InstalledSchema | None:
    """None where there is no schema yet. The number of a schema from before numbers is 0."""
    row = _first_row(connection, "operations.installation", _MADE)
    return InstalledSchema(*row) if row else None


def _first_row(connection: psycopg.Connection, table: str, query: str) -> tuple[Any, ...] | None:
    """`None` also where the table does not exist."""
    ((exists,),) = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchall()
    return connection.execute(query.encode()).fetchone() if exists else None


def _own_statements() -> str:
    return "\n".join(files("huajuan").joinpath(name).read_text("utf-8") for name in _FILES)


@cache
def own_digest() -> str:
    """The digest of the statements of this program."""
    return hashlib.sha256(_own_statements().encode()).hexdigest()


def _refuse_beside_older_server(connection: psycopg.Connection) -> None:
    """The lease of a server that was killed is waited for until it expires."""
    deadline = time.monotonic() + _OLDER_LEASE_SECONDS_MAX
    while name := _running_server(connection):
        if name.startswith(_SERVING) or time.monotonic() > deadline:
            raise SchemaUnusable(
                f"the server {name.split()[-1]} of an older version is connected to the database: stop all "
                "servers of the older version before the start of this one, which upgrades the database"
            )
        time.sleep(_POLL_SECONDS)


def _running_server(connection: psycopg.Connection) -> str | None:
    connected = connection.execute(_CONNECTED_SERVER).fetchone()
    row = connected or _first_row(connection, "operations.servers", _LIVE_SERVER)
    return str(row[0]) if row else None


def _make(connection: psycopg.Connection, dsn: str, number: int, minimum_program: int) -> None:
    connection.execute("CREATE SCHEMA IF NOT EXISTS log")
    connection.execute("CREATE SCHEMA IF NOT EXISTS operations")
    with _Datastore(dsn) as datastore:
        PostgresApplicationRecorder(datastore, events_table_name="huajuan_events").create_table()
        PostgresAggregateRecorder(datastore, events_table_name="huajuan_snapshots").create_table()
    with connection.transaction():
        connection.execute(_own_statements().encode())
        connection.execute(_RECORD, (os.urandom(32), own_digest(), number, minimum_program))


class _Datastore(PostgresDatastore):
    """The library's datastore for any DSN. The library itself only takes five parts of one."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dbname="", host="", port="", user="", password="", schema="log")
        self.pool = ConnectionPool[psycopg.Connection[DictRow]](
            dsn,
            connection_class=psycopg.Connection[DictRow],
            kwargs={"autocommit": True, "row_factory": dict_row, **PARAMETERS},
            min_size=1,
            max_size=2,
            open=False,
            configure=prepare_blocking,
        )
