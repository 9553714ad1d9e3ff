"""Sees to it that no server remembers what it read from tables that are about to be swapped."""

import time

import psycopg

# Longer than a swap may take from its announcement to its end; announced anew for each try.
_ANNOUNCED_SECONDS = 30
_ANNOUNCE = """
UPDATE operations.tenancy SET shared_until = clock_timestamp() + make_interval(secs => %s)
RETURNING greatest(extract(epoch FROM until - clock_timestamp()), 0)::float8
"""
_ALLOW = "UPDATE operations.tenancy SET shared_until = clock_timestamp()"
_ALLOWED = "SELECT operations.fold_beside('')"


def end_tenancies(connection: psycopg.Connection) -> None:
    """Announced first and then waited for, a few seconds, while everything else goes on."""
    ((left_seconds,),) = connection.execute(_ANNOUNCE, (_ANNOUNCED_SECONDS,)).fetchall()
    time.sleep(left_seconds)


def allow_tenancies(connection: psycopg.Connection) -> None:
    """With the end of the swap's transaction."""
    connection.execute(_ALLOW)


def is_free(connection: psycopg.Connection) -> bool:
    """In a transaction: until it ends, nobody can take a tenancy."""
    return (True,) in connection.execute(_ALLOWED).fetchall()
