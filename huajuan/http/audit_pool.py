"""Asks the log itself, apart from all that serves: a connection of its own, in one of a few threads."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import psycopg
from psycopg.conninfo import make_conninfo

from huajuan.audit.connection import hold_still, reading
from huajuan.audit.errors import AuditError, AuditGap
from huajuan.audit.limits import AuditLimits, AuditTooLong
from huajuan.event_store.errors import LogBusy, LogUnavailable, StreamBroken
from huajuan.runtime.threads import Threads

T = TypeVar("T")


class Auditors:
    """At most `threads_max` audits run at a time and `waiting_max` wait."""

    def __init__(self, dsn: str, limits: AuditLimits) -> None:
        self.limits = limits
        self._dsn = make_conninfo(dsn, connect_timeout=max(1, round(limits.connect_seconds_max)))
        self._threads = Threads("audits", limits.threads_max, limits.waiting_max)

    async def ask(self, question: Callable[[psycopg.Connection], T]) -> T:
        """All that the question reads is of one moment.

        Raises `AuditError` where the log cannot be read, `LogUnavailable`, `LogBusy` where it
        took too long, and `TooManyWaiting`.
        """
        return await self._threads.run(partial(self._ask, question))

    async def walk(self, question: Callable[[psycopg.Connection], T]) -> T:
        """The same for what reads moment after moment; each statement has as long as a whole question otherwise."""
        return await self._threads.run(partial(self._walk, question))

    def close(self) -> None:
        self._threads.close()

    def _ask(self, question: Callable[[psycopg.Connection], T]) -> T:
        def at_one_moment(connection: psycopg.Connection) -> T:
            hold_still(connection)
            return question(connection)

        return _answered(self._dsn, self.limits.replay_seconds_max, at_one_moment)

    def _walk(self, question: Callable[[psycopg.Connection], T]) -> T:
        return _answered(self._dsn, self.limits.replay_seconds_max, question)


def _answered(dsn: str, statement_seconds_max: float, question: Callable[[psycopg.Connection], T]) -> T:
    try:
        with reading(dsn) as connection:
            connection.execute(
                f"SET statement_timeout = {max(1, round(statement_seconds_max * 1000))}".encode()
            )
            return question(connection)
    except AuditGap as error:
        raise StreamBroken from error
    except AuditError as error:
        if isinstance(error, AuditTooLong) or isinstance(error.__cause__, psycopg.errors.QueryCanceled):
            raise LogBusy from error
        if isinstance(error.__cause__, psycopg.Error):
            raise LogUnavailable from error
        raise
