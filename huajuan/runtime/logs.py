"""Structured logs: text on a terminal, else JSON. Each line has the request id, and no secrets.

Warnings that repeat are limited to one a minute, and tracebacks have no values of database rows.
"""

import logging
import re
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any, TextIO

import msgspec
import psycopg
import structlog
from structlog.typing import EventDict, ExcInfo, Processor

# The values of fields with these names are replaced.
_SECRET = frozenset({"authorization", "password", "password_hash", "prompt", "token", "email", "key"})
REPEAT_SECONDS = 60.0
KEPT_MAX = 500
# Fields that differ in each repetition.
_IGNORED = frozenset({"request_id", "timestamp", "level", "repeated"})
_DIGITS = re.compile(r"[0-9]+(\.[0-9]+)?")
_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"
# The id of the current request, empty outside of requests.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
# Loggers that were used before share this list, so a new configuration applies to them, too.
_PROCESSORS: list[Processor] = []
_HEALTH_CHECKS = frozenset({"/healthz", "/readyz", "/metrics"})
Key = tuple[Any, ...]


def configure_logs(*, readable: bool | None = None, level: int = logging.INFO) -> None:
    """Configures our logs and those of libraries, on standard error."""
    readable = sys.stderr.isatty() if readable is None else readable
    throttle = Throttle()
    # Local time without date on a terminal, UTC in JSON.
    time_format, utc = ("%H:%M:%S", False) if readable else ("iso", True)
    shared: list[Processor] = [
        _add_request_id,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt=time_format, utc=utc),
        _hide_secrets,
    ]
    # For speed our own lines do not pass through the `logging` module.
    _PROCESSORS[:] = [_drop_health_checks, throttle.process, *shared, *_rendering(readable), _encoded]
    structlog.configure(
        processors=_PROCESSORS,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(_StandardError()),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(throttle.filter)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(readable)],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in ("httpx", "httpcore", "websockets", "psycopg.pool", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _drop_health_checks(_: Any, __: str, event: EventDict) -> EventDict:
    """Drops successful health checks, which arrive every few seconds."""
    if event.get("path") in _HEALTH_CHECKS and event.get("status") == HTTPStatus.OK:
        raise structlog.DropEvent
    return event


def _add_request_id(_: Any, __: str, event: EventDict) -> EventDict:
    if name := REQUEST_ID.get():
        event["request_id"] = name
    return event


def _rendering(readable: bool) -> list[Processor]:
    """Plain tracebacks: others would contain values of variables and of rows."""
    if readable:
        return [structlog.dev.ConsoleRenderer(exception_formatter=_print_traceback)]
    return [structlog.processors.ExceptionRenderer(format_traceback), _as_json]


def _as_json(_: Any, __: str, event: EventDict) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()


def _encoded(_: Any, __: str, line: Any) -> bytes:
    return str(line).encode(errors="replace")


def _hide_secrets(_: Any, __: str, event: EventDict) -> EventDict:
    return {name: "…" if name in _SECRET else value for name, value in event.items()}


class _StandardError:
    """The standard error stream at the time of each write."""

    def write(self, line: bytes) -> None:
        """Ignores errors, for example of a closed terminal."""
        with suppress(OSError, ValueError):
            sys.stderr.buffer.write(line)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


class Throttle:
    """Limits repeated warnings: after the first one, one a minute with the count of the others.

    Lines that differ only in numbers or in the request count as the same. The last `KEPT_MAX` different ones
    are remembered.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._written_at: OrderedDict[Key, float] = OrderedDict()
        self._dropped: dict[Key, int] = {}

    def process(self, _: Any, method: str, event: EventDict) -> EventDict:
        """The processor of our own lines."""
        if method == "warning":
            dropped = self.admit(_key_of(event))
            if dropped is None:
                raise structlog.DropEvent
            if dropped:
                event["repeated"] = dropped
        return event

    def filter(self, record: logging.LogRecord) -> bool:
        """The filter of the lines of libraries."""
        if record.levelno != logging.WARNING:
            return True
        dropped = self.admit((record.name, _DIGITS.sub("#", record.getMessage())))
        if dropped:
            record.msg, record.args = f"{record.getMessage()} (repeated {dropped} times)", None
        return dropped is not None

    def admit(self, key: Key) -> int | None:
        """How many were dropped since the last one was written; `None` if this one is to be dropped."""
        now = self._clock()
        if now - self._written_at.get(key, -REPEAT_SECONDS) < REPEAT_SECONDS:
            self._dropped[key] = self._dropped.get(key, 0) + 1
            return None
        self._written_at[key] = now
        self._written_at.move_to_end(key)
        while len(self._written_at) > KEPT_MAX:
            oldest, _ = self._written_at.popitem(last=False)
            self._dropped.pop(oldest, None)
        return self._dropped.pop(key, 0)


def _key_of(event: Mapping[str, Any]) -> Key:
    fields = {n: v for n, v in event.items() if n not in _IGNORED and not isinstance(v, int | float)}
    return tuple(sorted((name, str(value)) for name, value in fields.items()))


def format_traceback(exc_info: ExcInfo) -> str:
    """The format of Python. A database error has its code and schema objects instead of its message."""
    return "".join(_lines(exc_info[1], set())).rstrip("\n")


def _print_traceback(stream: TextIO, exc_info: ExcInfo) -> None:
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
