"""Formats tracebacks without the messages of database errors, which may contain values of rows."""

import traceback
from collections.abc import Iterator
from typing import TextIO

import psycopg
from structlog.typing import ExcInfo

_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"


def format_traceback(exc_info: ExcInfo) -> str:
    """The format of Python.

    A database error has its code and the names of schema objects instead of its message.
    """
    return "".join(_lines(exc_info[1], set())).rstrip("\n")


def print_traceback(stream: TextIO, exc_info: ExcInfo) -> None:
    stream.write(f"\n{format_traceback(exc_info)}")


def _lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    earlier, joint = _earlier_error(error)
    if earlier is not None and id(earlier) not in seen:
        yield from _lines(earlier, seen)
        yield joint
    if error.__traceback__:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(error.__traceback__)
    yield f"{_class_name(error)}: {_message(error)}\n"
    for part in getattr(error, "exceptions", ()):
        yield from _lines(part, seen)


def _earlier_error(error: BaseException) -> tuple[BaseException | None, str]:
    if error.__cause__ is not None:
        return error.__cause__, _CAUSE
    return (None if error.__suppress_context__ else error.__context__), _CONTEXT


def _class_name(error: BaseException) -> str:
    cls = type(error)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _message(error: BaseException) -> str:
    """The errors of the client library contain no values of rows, so their messages stay."""
    if not isinstance(error, psycopg.Error) or error.sqlstate is None:
        return str(error)
    diag = error.diag
    names = (diag.schema_name, diag.table_name, diag.column_name, diag.constraint_name)
    return " ".join([error.sqlstate, *filter(None, names)])
