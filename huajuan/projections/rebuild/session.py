"""The limits of a rebuild, and its database connections, which have no time limit for statements."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

import msgspec
import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format

from huajuan.postgres.connect import connect_blocking

# The interval at which the server checks, during a statement, whether the client is still connected.
CHECK_MILLISECONDS = 1000


class RebuildLimits(msgspec.Struct, frozen=True):
    """Memory grows with `page_events_max` and, for each table, with `rows_kept_max`, but not with the log."""

    page_events_max: int = 10_000
    rows_kept_max: int = 100_000
    # The last step begins when the new tables are at most so far behind the live ones, which wait for it.
    last_step_events_max: int = 500
    catch_up_rounds_max: int = 100
    # How long a swap waits for the lock of one checkpoint, while it holds those of others, before it releases
    # them.
    swap_wait_seconds_max: float = 0.25
    swap_pause_seconds: float = 0.25
    swap_tries_max: int = 240
    # One core is left for the service.
    indexes_at_once_max: int = max(1, (os.cpu_count() or 1) - 1)
    index_memory_mb: int = 128
    # A DROP waits for readers in short tries, because new readers queue up behind it.
    drop_wait_seconds_max: float = 0.5
    drop_tries_max: int = 10
    # The time limit of each statement of a cleanup.
    leftovers_seconds_max: float = 10
    differences_shown_max: int = 10


@contextmanager
def connection(dsn: str, *, niced: bool = False) -> Iterator[psycopg.Connection]:
    """In autocommit mode. A crash of Postgres may lose new tables, but not parts of them.

    With `niced`, a Postgres server on this machine works with the priority of this process, if that is
    permitted. It is for long work, and not for statements for which the live tables wait.
    """
    session = (
        f"SET client_connection_check_interval = {CHECK_MILLISECONDS}",
        "SET synchronous_commit = off",
    )
    with connect_blocking(dsn, *session, application_name="huajuan_rebuild") as opened:
        opened.adapters.register_loader("uuid", _FastUUID)
        if niced:
            _set_backend_priority(opened)
        yield opened


def _set_backend_priority(opened: psycopg.Connection) -> None:
    pid = opened.info.backend_pid
    with suppress(OSError):
        # If Postgres runs on another machine or in a container, the number belongs to another process or to
        # none.
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"postgres: "):
            os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, 0))
            opened.execute("SET max_parallel_workers_per_gather = 0")


class _FastUUID(Loader):
    """msgspec makes a UUID from bytes three times as fast as the class does."""

    format = Format.BINARY

    def load(self, data: Buffer) -> UUID:
        return msgspec.convert(bytes(data), UUID)
