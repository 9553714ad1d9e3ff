"""Limits repeated warnings in the log: after the first one, one a minute with the count of the others."""

import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from structlog.typing import EventDict

REPEAT_SECONDS = 60.0
KEPT_MAX = 500
# Fields that differ in each repetition.
_IGNORED = frozenset({"request_id", "timestamp", "level", "repeated"})
_DIGITS = re.compile(r"[0-9]+(\.[0-9]+)?")
Key = tuple[Any, ...]


class Throttle:
    """Remembers the last `KEPT_MAX` different warnings."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._written_at: OrderedDict[Key, float] = OrderedDict()
        self._dropped: dict[Key, int] = {}

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


class ThrottleWarnings:
    """A processor for our own log lines.

    Lines that differ only in numbers or in the request count as the same.
    """

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle

    def __call__(self, _: Any, method: str, event: EventDict) -> EventDict:
        if method == "warning":
            dropped = self._throttle.admit(_key_of(event))
            if dropped is None:
                raise structlog.DropEvent
            if dropped:
                event["repeated"] = dropped
        return event


class ThrottleLibraryWarnings(logging.Filter):
    """The same for the log lines of libraries."""

    def __init__(self, throttle: Throttle) -> None:
        super().__init__()
        self._throttle = throttle

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        dropped = self._throttle.admit((record.name, _DIGITS.sub("#", record.getMessage())))
        if dropped:
            record.msg, record.args = f"{record.getMessage()} (repeated {dropped} times)", None
        return dropped is not None


def _key_of(event: Mapping[str, Any]) -> Key:
    fields = {n: v for n, v in event.items() if n not in _IGNORED and not isinstance(v, int | float)}
    return tuple(sorted((name, str(value)) for name, value in fields.items()))
