"""Tracebacks that tell where and of what kind, but no values: a database's errors quote the rows they are about."""

import traceback
from collections.abc import Iterator
from typing import TextIO

import psycopg
from structlog.typing import ExcInfo

_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"


def told(exc_info: ExcInfo) -> str:
    """As Python prints it, but for what a database said."""
    return "".join(_lines(exc_info[1], set())).rstrip("\n")


def print_told(stream: TextIO, exc_info: ExcInfo) -> None:
    stream.write(f"\n{told(exc_info)}")


def _lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before, joint = _before(error)
    if before is not None and id(before) not in seen:
        yield from _lines(before, seen)
        yield joint
    if error.__traceback__:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(error.__traceback__)
    yield f"{_kind(error)}: {_said(error)}\n"
    for part in getattr(error, "exceptions", ()):
        yield from _lines(part, seen)


def _before(error: BaseException) -> tuple[BaseException | None, str]:
    if error.__cause__ is not None:
        return error.__cause__, _CAUSE
    return (None if error.__suppress_context__ else error.__context__), _CONTEXT


def _kind(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _said(error: BaseException) -> str:
    """Of a database's error its code and what it names of the schema; a client's own says nothing of rows."""
    if not isinstance(error, psycopg.Error) or error.sqlstate is None:
        return str(error)
    diagnosis = error.diag
    names = (diagnosis.schema_name, diagnosis.table_name, diagnosis.column_name, diagnosis.constraint_name)
    return " ".join([error.sqlstate, *filter(None, names)])
