"""Makes the log's tables: the library's own, then what we lay over them."""

import hashlib
import os
from functools import cache
from importlib.resources import files

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

EVENTS = "log.huajuan_events"
EVENTS_CHANNEL = "huajuan_events"
_SCHEMA_LOCK = 4711
_FILES = ("event_store/sql/schema.sql", "jobs/queue.sql", "auth/login_attempts.sql")
# Raised by one with every change of schema.sql or queue.sql. It is the number of the program, too.
SCHEMA_NUMBER = 1
# The lowest program number that can serve beside this schema. Raised only where older programs would fail or do harm.
MINIMUM_PROGRAM = 1
# The row as JSON, for a schema made by an older program lacks some of its columns.
_MADE = """
SELECT coalesce((made ->> 'schema_number')::int, 0), coalesce((made ->> 'minimum_program')::int, 0),
       made ->> 'schema' FROM (SELECT to_jsonb(i) - 'stream_key' FROM operations.installation i) AS one(made)
"""
_NOTE_MADE = """
INSERT INTO operations.installation (stream_key, schema, schema_number, minimum_program) VALUES (%s, %s, %s, %s)
ON CONFLICT (one) DO UPDATE SET schema = EXCLUDED.schema, schema_number = EXCLUDED.schema_number,
       minimum_program = EXCLUDED.minimum_program
"""


class SchemaTooNew(Exception):
    """A newer program has made a schema that this program must not use; the message says so in one line."""


class MadeSchema(msgspec.Struct, frozen=True):
    """The schema that a database has: its number, the lowest program it allows, and the digest of its statements."""

    number: int
    minimum_program: int
    digest: str


def create_schema(dsn: str, number: int = SCHEMA_NUMBER, minimum_program: int = MINIMUM_PROGRAM) -> None:
    """Make or bring up to date the log's schema. Any number of processes may call this at once.

    A schema with a higher number is left as it is. Raises `SchemaTooNew` if it does not allow this program.
    """
    with connect_blocking(dsn) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_SCHEMA_LOCK,))
        made = made_schema(connection)
        if made is None or made.number < number or (made.number == number and made.digest != own_digest()):
            _make(connection, dsn, number, minimum_program)
        elif made.minimum_program > number:
            raise SchemaTooNew(
                f"the schema has the number {made.number} and needs a program of number {made.minimum_program} or "
                f"higher, this one is {number}: start the newer program"
            )


def made_schema(connection: psycopg.Connection) -> MadeSchema | None:
    """None where no program has made one yet. The number of a schema from before numbers is 0."""
    exists = connection.execute("SELECT to_regclass('operations.installation') IS NOT NULL").fetchone()
    row = connection.execute(_MADE).fetchone() if exists and exists[0] else None
    return MadeSchema(*row) if row else None


def _own_statements() -> str:
    folder = files("huajuan")
    return "\n".join(folder.joinpath(name).read_text("utf-8") for name in _FILES)


@cache
def own_digest() -> str:
    """Of the statements of this program."""
    return hashlib.sha256(_own_statements().encode()).hexdigest()


def _make(connection: psycopg.Connection, dsn: str, number: int, minimum_program: int) -> None:
    connection.execute("CREATE SCHEMA IF NOT EXISTS log")
    connection.execute("CREATE SCHEMA IF NOT EXISTS operations")
    with _Datastore(dsn) as datastore:
        PostgresApplicationRecorder(datastore, events_table_name="huajuan_events").create_table()
        PostgresAggregateRecorder(datastore, events_table_name="huajuan_snapshots").create_table()
    with connection.transaction():
        connection.execute(_own_statements().encode())
        connection.execute(_NOTE_MADE, (os.urandom(32), own_digest(), number, minimum_program))


class _Datastore(PostgresDatastore):
    """The library's datastore on any connection string, where its own takes five parts of one."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dbname="", host="", port="", user="", password="", schema="log")
        self.pool = ConnectionPool[psycopg.Connection[DictRow]](
            dsn,
            connection_class=psycopg.Connection[DictRow],
            kwargs={"row_factory": dict_row, **PARAMETERS},
            min_size=1,
            max_size=2,
            open=False,
            configure=_configure,
        )


def _configure(connection: psycopg.Connection[DictRow]) -> None:
    connection.autocommit = True
    prepare_blocking(connection)
