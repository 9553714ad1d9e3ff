"""Errors of the database layer.

DatabaseFailure
├── DatabaseBusy           a bound on waiting work or on a statement's time was exceeded; nothing was written
└── DatabaseUnavailable    Postgres did not answer in time; the outcome of a write is unknown

`StalePrimary` is one of `OUTAGES`: it lasts until another server answers.
"""

from pathlib import Path

import psycopg

# After any of these during a write it is unknown whether the write happened. The work may be retried.
OUTAGES = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    TimeoutError,
)


class DatabaseFailure(Exception):
    """The database could not execute the work."""


class DatabaseBusy(DatabaseFailure):
    """Too much work is waiting, or a statement exceeded its time limit. Nothing was written."""


class DatabaseUnavailable(DatabaseFailure):
    """Postgres did not answer within the time limit."""


class StalePrimary(psycopg.OperationalError):
    """This server was replaced: its timeline is lower than one that was seen before."""

    def __init__(self, found: tuple[str, int], highest: int, folder: Path | None) -> None:
        system, timeline = found
        remedy = f"; if it is to be used again on purpose, remove {system}-* in {folder}" if folder else ""
        super().__init__(
            f"the database is an old primary: it writes timeline {timeline}, and timeline {highest} of the "
            f"same system was seen before; what it holds may be out of date{remedy}"
        )
