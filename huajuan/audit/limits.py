"""How much of a worker auditors may take up, and how long."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

from huajuan.audit.errors import AuditError

T = TypeVar("T")


class AuditLimits(msgspec.Struct, frozen=True, kw_only=True):
    """An audit that takes longer than it may is given up, and its asker told to come back."""

    threads_max: int = 2
    waiting_max: int = 20
    connect_seconds_max: float = 5
    replay_seconds_max: float = 20
    verify_seconds_max: float = 60


class AuditTooLong(AuditError):
    """It took longer than it may."""


def within(seconds_max: float, things: Iterable[T]) -> Iterator[T]:
    """Raises `AuditTooLong` for what comes later."""
    give_up_at = time.monotonic() + seconds_max
    for thing in things:
        if time.monotonic() > give_up_at:
            raise AuditTooLong(f"it took longer than {seconds_max:g} seconds")
        yield thing
