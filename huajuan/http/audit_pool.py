"""Runs audits of the log in a few threads, each on its own read-only connection."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import psycopg
from psycopg.conninfo import make_conninfo

from huajuan.audit.connection import (
    AuditError,
    AuditGap,
    AuditLimits,
    AuditTimeout,
    begin_snapshot,
    open_read_only,
)
from huajuan.event_store.errors import DatabaseBusy, DatabaseUnavailable, StreamBroken
from huajuan.runtime.periodic import Threads

T = TypeVar("T")


class AuditPool:
    """At most `threads_max` audits run at a time and `waiting_max` wait."""

    def __init__(self, dsn: str, limits: AuditLimits) -> None:
        self.limits = limits
        self._dsn = make_conninfo(dsn, connect_timeout=max(1, round(limits.connect_seconds_max)))
        self._threads = Threads("audits", limits.threads_max, limits.waiting_max)

    async def run_in_snapshot(self, query: Callable[[psycopg.Connection], T]) -> T:
        """Run `query` in one snapshot.

        Raises `AuditError` if the log cannot be read, `DatabaseUnavailable`, `DatabaseBusy` after too long,
        and `TooManyWaiting`.
        """
        return await self._threads.run(partial(self._run_in_snapshot, query))

    async def run(self, query: Callable[[psycopg.Connection], T]) -> T:
        """Run `query` without a snapshot; the time limit counts for each statement."""
        return await self._threads.run(partial(self._run, query))

    def close(self) -> None:
        self._threads.close()

    def _run_in_snapshot(self, query: Callable[[psycopg.Connection], T]) -> T:
        def with_snapshot(connection: psycopg.Connection) -> T:
            begin_snapshot(connection)
            return query(connection)

        return _run_query(self._dsn, self.limits.replay_seconds_max, with_snapshot)

    def _run(self, query: Callable[[psycopg.Connection], T]) -> T:
        return _run_query(self._dsn, self.limits.replay_seconds_max, query)


def _run_query(dsn: str, statement_seconds_max: float, query: Callable[[psycopg.Connection], T]) -> T:
    try:
        with open_read_only(dsn) as connection:
            connection.execute(
                f"SET statement_timeout = {max(1, round(statement_seconds_max * 1000))}".encode()
            )
            return query(connection)
    except AuditGap as error:
        raise StreamBroken from error
    except AuditError as error:
        if isinstance(error, AuditTimeout) or isinstance(error.__cause__, psycopg.errors.QueryCanceled):
            raise DatabaseBusy from error
        if isinstance(error.__cause__, psycopg.Error):
            raise DatabaseUnavailable from error
        raise
