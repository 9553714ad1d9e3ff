"""The embedded server: started by whoever comes first, shared, stopped by whoever leaves last."""

import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from psycopg.conninfo import make_conninfo

from huajuan.embedded_postgres import data_folder
from huajuan.embedded_postgres.account import choose_account, own_name
from huajuan.embedded_postgres.binaries import binaries_for, find_binaries, version_of
from huajuan.embedded_postgres.errors import EmbeddedPostgresError
from huajuan.embedded_postgres.folders import let_pass, make_root, make_socket_folder, socket_folder
from huajuan.embedded_postgres.launch import (
    READY_SECONDS,
    Log,
    Say,
    end,
    launch,
    reap,
    ticks,
    wait_until_ready,
)
from huajuan.embedded_postgres.locks import held, open_lock, share, try_exclusive
from huajuan.embedded_postgres.processes import read_pid_file, serves

# Another process may be making the database and recovering it before our turn comes.
TURN_SECONDS = 500
# Backends of a killed server end their current work before they notice.
ORPHAN_SECONDS = 30
PORT = "5432"

# No TCP at all: with the closed socket folder, `trust` means the same account or root.
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "log_min_messages": "warning",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# What libpq would else take from variables such as PGHOSTADDR or PGOPTIONS, which mean another server.
_OVERRULED = {"hostaddr": "", "options": "", "target_session_attrs": "any"}
# For tests, whose data nobody misses after a power cut.
_CARELESS_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "max_wal_size": "4GB",
    "shared_buffers": "64MB",
}


def _silent(_: str) -> None:
    """Nobody wants to hear of progress."""


class EmbeddedPostgres:
    """One PostgreSQL server below a folder, reached by a socket that only its account and root can open.

    Any number of processes may use the same folder at once: each calls `start`, and the server ends with
    the last of them, however they end. Not on Windows, which lacks the locks used here.
    """

    def __init__(
        self,
        root: Path,
        *,
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
        die_with_parent: bool = False,
        progress: Say | None = None,
    ) -> None:
        """Nothing is touched before `start`.

        `durable=False` gives up safety against power cuts for speed; `die_with_parent` (Linux) ends the
        server with the thread that started it; `progress` hears, once a second, what is being waited for.
        """
        self.root = Path(root).absolute()
        self.data = self.root / "pgdata"
        self._settings = {**_SETTINGS, **({} if durable else _CARELESS_SETTINGS), **(settings or {})}
        self._durable = durable
        self._die_with_parent = die_with_parent
        self._say = progress or _silent
        self._membership: tuple[int, int] | None = None

    @cached_property
    def version(self) -> str:
        """The version of the programs found, such as `18.6`."""
        return version_of(find_binaries())

    def dsn(self, database: str = "postgres") -> str:
        """A libpq keyword string for one database, as the superuser of this server."""
        entry = read_pid_file(self._pid_file)
        folder = (entry and entry.socket_folder) or self._socket_folder
        place = {"host": str(folder), "port": PORT, "user": data_folder.SUPERUSER, "dbname": database}
        return make_conninfo(**place, **_OVERRULED)

    def running(self) -> int | None:
        """The process number of this folder's live server, whoever started it."""
        entry = read_pid_file(self._pid_file)
        return entry.pid if entry and serves(entry.pid, self.data) else None

    def start(self) -> Self:
        """Make the database if there is none, recover it if it crashed, join it if it runs.

        May be called again, as after the server was killed. Raises EmbeddedPostgresError.
        """
        if not self.data.exists():
            # Refused before any folder is made.
            find_binaries()
            own_name()
        make_root(self.root)
        reap()
        with held(self.root / "start.lock", TURN_SECONDS):
            was_member = self._membership is not None
            self._join()
            try:
                self._ensure_server()
            except BaseException:
                if not was_member:
                    self._leave()
                raise
        return self

    def stop(self) -> None:
        """Leave, and stop the server if nobody else uses it; does nothing in a forked child."""
        if self._membership is None or self._membership[1] != os.getpid():
            return
        try:
            with held(self.root / "start.lock", TURN_SECONDS):
                if try_exclusive(self._membership[0]):
                    self._end_server()
        finally:
            self._leave()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _pid_file(self) -> Path:
        return self.data / "postmaster.pid"

    @cached_property
    def _socket_folder(self) -> Path:
        return socket_folder(self.root, os.geteuid())

    def _join(self) -> None:
        """Users share a lock for as long as they live: the kernel knows who is left, even after kill -9."""
        if self._membership is None:
            self._membership = (open_lock(self.root / "users.lock"), os.getpid())
            share(self._membership[0])

    def _leave(self) -> None:
        if self._membership:
            os.close(self._membership[0])
            self._membership = None

    def _settled(self) -> bool:
        """Whether a server is there and ready; waits for one that is just coming up or going down."""
        for _ in ticks(READY_SECONDS, self._say, "waiting for the database that another process started"):
            if self.running() is None:
                return False
            entry = read_pid_file(self._pid_file)
            if entry and entry.ready:
                return True
        raise EmbeddedPostgresError(
            f"the server of {self.root} is neither ready nor gone after {READY_SECONDS} s."
        )

    def _ensure_server(self) -> None:
        try:
            if not self._settled():
                self._start_server()
        except OSError as error:
            raise EmbeddedPostgresError(f"the database in {self.root} cannot be started: {error}") from error

    def _start_server(self) -> None:
        account = choose_account(self.data, self._say)
        let_pass(self.root, account)
        binaries = binaries_for(account, self.root)
        with held(self.root / "server.lock", ORPHAN_SECONDS) as lock:
            if not (self.data / "PG_VERSION").exists():
                self._say("creating the database")
                data_folder.make_data(self.data, binaries, account, durable=self._durable, lock=lock)
            data_folder.check_version(self.data, binaries)
            data_folder.take_over(self.data, account)
            make_socket_folder(self._socket_folder, account)
            doing = (
                "recovering the database after a crash"
                if self._pid_file.exists()
                else "starting the database"
            )
            data_folder.clear_reused_pids(self.data, self._socket_folder)
            self._say(doing)
            log = Log(self.root / "postgres.log")
            child = launch(
                self._command(binaries), account, log, lock=lock, die_with_parent=self._die_with_parent
            )
            wait_until_ready(child, self._pid_file, log, self._say, doing)

    def _command(self, binaries: Path) -> list[str | Path]:
        settings = [f"-c{name}={value}" for name, value in self._settings.items()]
        return [binaries / "postgres", "-D", self.data, "-k", self._socket_folder, "-p", PORT, *settings]

    def _end_server(self) -> None:
        if pid := self.running():
            end(pid, lambda: self.running() == pid, self._say)
            self._remove_socket_folder()

    def _remove_socket_folder(self) -> None:
        """Leave nothing in the temporary folder."""
        if self._socket_folder.parent != self.root:
            with suppress(OSError):
                self._socket_folder.rmdir()
