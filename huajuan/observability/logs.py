"""Structured logs: text on a terminal, else JSON. Each line has the request id, and no secrets."""

import logging
import sys
from contextlib import suppress
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from huajuan.observability.log_throttle import Throttle, ThrottleLibraryWarnings, ThrottleWarnings
from huajuan.observability.tracebacks import format_traceback, print_traceback

# The values of fields with these names are replaced.
_SECRET = frozenset({"authorization", "password", "password_hash", "prompt", "token", "email", "key"})

# The id of the current request, empty outside of requests.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
# Loggers that were used before share this list, so a new configuration applies to them, too.
_PROCESSORS: list[Processor] = []
_HEALTH_CHECKS = frozenset({"/healthz", "/readyz", "/metrics"})


def configure_logs(*, readable: bool | None = None, level: int = logging.INFO) -> None:
    """Configures our logs and those of libraries, on standard error."""
    readable = sys.stderr.isatty() if readable is None else readable
    throttle = Throttle()
    shared: list[Processor] = [
        _add_request_id,
        structlog.stdlib.add_log_level,
        _time_stamper(readable),
        hide_secrets,
    ]
    # For speed our own lines do not pass through the `logging` module.
    _PROCESSORS[:] = [
        _drop_health_checks,
        ThrottleWarnings(throttle),
        *shared,
        *_rendering(readable),
        _encoded,
    ]
    structlog.configure(
        processors=_PROCESSORS,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(_StandardError()),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(ThrottleLibraryWarnings(throttle))
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


def _time_stamper(readable: bool) -> Processor:
    """Local time without date on a terminal, UTC in JSON."""
    if readable:
        return structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
    return structlog.processors.TimeStamper(fmt="iso", utc=True)


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
        return [structlog.dev.ConsoleRenderer(exception_formatter=print_traceback)]
    return [
        structlog.processors.ExceptionRenderer(format_traceback),
        _as_json,
    ]


def _as_json(_: Any, __: str, event: EventDict) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()


def _encoded(_: Any, __: str, line: Any) -> bytes:
    return str(line).encode(errors="replace")


class _StandardError:
    """The standard error stream at the time of each write."""

    def write(self, line: bytes) -> None:
        """Ignores errors, for example of a closed terminal."""
        with suppress(OSError, ValueError):
            sys.stderr.buffer.write(line)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


def hide_secrets(_: Any, __: str, event: EventDict) -> EventDict:
    return {name: "…" if name in _SECRET else value for name, value in event.items()}
