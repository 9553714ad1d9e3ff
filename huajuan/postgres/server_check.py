"""Checks at start whether a database meets the requirements. An error names the remedy in one line."""

from collections.abc import Sequence
from typing import Any

import psycopg

OLDEST_MAJOR = 14
ENCODING = "UTF8"
# A pooler may send the first statements to one backend.
_PROBES = 3
_STATE = """
SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
       current_setting('session_replication_role'), current_database(), current_user,
       has_database_privilege(current_database(), 'CREATE'),
       EXISTS (SELECT FROM pg_language WHERE lanname = 'plpgsql' AND has_language_privilege(oid, 'USAGE'))
"""
_FOREIGN = """
SELECT owned.name, pg_get_userbyid(owned.owner)
  FROM pg_namespace n, LATERAL (
       SELECT n.nspname, n.nspowner
        UNION ALL
       SELECT n.nspname || '.' || c.relname, c.relowner FROM pg_class c
        WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'v', 'S')
        UNION ALL
       SELECT n.nspname || '.' || p.proname, p.proowner FROM pg_proc p WHERE p.pronamespace = n.oid
  ) AS owned(name, owner)
 WHERE n.nspname = ANY(%s) AND NOT pg_has_role(owned.owner, 'USAGE') LIMIT 1
"""


class UnsupportedDatabase(Exception):
    """The database does not meet a requirement. The message has the cause and the remedy in one line."""


def check_readable(connection: psycopg.Connection) -> None:
    """Checks version, encoding, and that no pooler is in between. Raises `UnsupportedDatabase`."""
    major = connection.info.server_version // 10_000
    if major < OLDEST_MAJOR:
        raise UnsupportedDatabase(f"PostgreSQL {OLDEST_MAJOR} or newer is needed, this is {major}")
    for _ in range(_PROBES):
        pid, encoding, name = _row(
            connection, "SELECT pg_backend_pid(), current_setting('server_encoding'), current_database()"
        )
        if pid != connection.info.backend_pid:
            raise UnsupportedDatabase(
                "a connection pooler (such as pgbouncer) is in between, and sessions of PostgreSQL itself "
                "are needed: give the address of the server behind it"
            )
    if encoding != ENCODING:
        raise UnsupportedDatabase(
            f"the database {_quoted(name)} has the encoding {encoding}, and {ENCODING} is needed: make "
            f"another one with CREATE DATABASE … ENCODING '{ENCODING}' TEMPLATE template0"
        )


def check_writable(connection: psycopg.Connection, schemas: Sequence[str]) -> None:
    """Checks what a server needs besides, with our own `schemas`. Raises `UnsupportedDatabase`."""
    is_standby, is_read_only, replication_role, name, role, may_create, has_plpgsql = _row(connection, _STATE)
    database, role = _quoted(name), _quoted(role)
    if is_standby:
        raise UnsupportedDatabase(
            "the server is a standby, which can only be read: give the address of the primary, or those of "
            "all servers with target_session_attrs=read-write"
        )
    if is_read_only:
        raise UnsupportedDatabase(
            f"transactions are read-only here: ALTER DATABASE {database} RESET "
            f"default_transaction_read_only, or the same for the role {role} or in the options of the DSN"
        )
    if replication_role == "replica":
        raise UnsupportedDatabase(
            "session_replication_role is replica, so that triggers which protect the log do not run: "
            f"ALTER ROLE {role} RESET session_replication_role"
        )
    if not has_plpgsql:
        raise UnsupportedDatabase(f"the language plpgsql is missing: CREATE EXTENSION plpgsql in {database}")
    if not may_create:
        raise UnsupportedDatabase(
            f"the role {role} may not create schemas: GRANT CREATE ON DATABASE {database} TO {role}"
        )
    _check_owners(connection, schemas, role)
    try:
        connection.execute("LISTEN huajuan_check")
    except psycopg.Error as error:
        reason = str(error).splitlines()[0]
        raise UnsupportedDatabase(f"LISTEN does not work here, and is needed: {reason}") from None


def _check_owners(connection: psycopg.Connection, schemas: Sequence[str], role: str) -> None:
    """Only the owner of a table or function may alter, rename or drop it."""
    foreign = connection.execute(_FOREIGN.encode(), (list(schemas),)).fetchone()
    if foreign:
        name, owner = foreign
        raise UnsupportedDatabase(
            f"{name} belongs to the role {_quoted(owner)}: connect as that role, "
            f"or GRANT {_quoted(owner)} TO {role}"
        )


def _row(connection: psycopg.Connection, query: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] = connection.execute(query.encode()).fetchone() or ()
    return row


def _quoted(name: str) -> str:
    return psycopg.sql.Identifier(name).as_string()
