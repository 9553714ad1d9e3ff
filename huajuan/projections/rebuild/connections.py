"""The connections of a rebuild: no bound on a statement's time, and the server notices when we are gone."""

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

# A waiting server looks this often whether anybody still wants the answer.
CHECK_MILLISECONDS = 1000


@contextmanager
def connection(dsn: str, *, gently: bool = False) -> Iterator[psycopg.Connection]:
    """Autocommits. What a crash of the server loses of new tables is lost with all of them.

    `gently` is for long work: a server on this machine does it with our own priority, if it lets us. Not for what
    the live tables wait for.
    """
    session = (
        f"SET client_connection_check_interval = {CHECK_MILLISECONDS}",
        "SET synchronous_commit = off",
    )
    with connect_blocking(dsn, *session, application_name="huajuan_rebuild") as opened:
        opened.adapters.register_loader("uuid", _FastUUID)
        if gently:
            _be_as_nice_as_we_are(opened)
        yield opened


def _be_as_nice_as_we_are(opened: psycopg.Connection) -> None:
    pid = opened.info.backend_pid
    with suppress(OSError):
        # On another machine, or behind a wall, that number is somebody else's or nobody's.
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"postgres: "):
            os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, 0))
            opened.execute("SET max_parallel_workers_per_gather = 0")


class _FastUUID(Loader):
    """msgspec makes a UUID of its bytes three times as fast as the class itself."""

    format = Format.BINARY

    def load(self, data: Buffer) -> UUID:
        return msgspec.convert(bytes(data), UUID)
