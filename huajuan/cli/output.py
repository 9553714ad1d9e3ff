"""Prints results on standard output, and messages on standard error."""

import sys
from contextlib import suppress
from typing import Any

import msgspec

from huajuan.cli.stdio import discard_unwritable_output


def print_result(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def print_json(value: Any) -> None:
    print_result(msgspec.json.encode(value).decode())


def print_done(text: str) -> None:
    """Prints the result of a committed command. An output error is no failure: a retry would repeat it."""
    try:
        print_result(text)
        sys.stdout.flush()
    except OSError as error:
        discard_unwritable_output()
        with suppress(OSError):
            log(f"huajuan: done, but not written to standard output ({error.strerror}): {text}")


def log(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def printable(text: object) -> str:
    """Replaces characters that could control the terminal; for text of users."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))


def counted_rows(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows:,} rows"
