"""Says what a verb found: results on standard output, everything else on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import psycopg

from huajuan.audit.connection import reading
from huajuan.cli.database import database_there_is
from huajuan.cli.stdio import let_go
from huajuan.settings import Settings


def result(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def result_as_json(found: Any) -> None:
    result(msgspec.json.encode(found).decode())


def report_done(text: str) -> None:
    """Report an act that is on record: output that fails must not make it look undone, for it would be repeated."""
    try:
        result(text)
        sys.stdout.flush()
    except OSError as error:
        let_go()
        with suppress(OSError):
            aside(f"huajuan: done, but not written to standard output ({error.strerror}): {text}")


def aside(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def printable(text: object) -> str:
    """Somebody's text, which must not steer the terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))


def counted_rows(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows:,} rows"


@contextmanager
def log_of(settings: Settings) -> Iterator[psycopg.Connection]:
    """A connection that reads the log, beside a running service or without one.

    A log that nothing can be folded from any more can still be looked at.
    """
    with (
        database_there_is(settings, as_it_stands=True) as database,
        reading(database.dsn) as connection,
    ):
        yield connection
