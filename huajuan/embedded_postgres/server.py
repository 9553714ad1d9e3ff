"""The embedded server: the first process that uses a folder starts it, the last one stops it."""

import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from psycopg.conninfo import make_conninfo

from huajuan.embedded_postgres import folders, processes
from huajuan.embedded_postgres.account import choose_account, own_name
from huajuan.embedded_postgres.binaries import binaries_for, find_binaries, version_of
from huajuan.embedded_postgres.processes import READY_SECONDS, EmbeddedPostgresError, OnStatus, held

# Another process may first create the database, or recover it.
START_LOCK_SECONDS = 500
# Backends of a killed server finish their current query before they end.
ORPHAN_SECONDS = 30
PORT = "5432"

# No TCP: with the private socket folder, `trust` means the same account or root.
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "log_min_messages": "warning",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# Overrides libpq variables such as PGHOSTADDR or PGOPTIONS, which are meant for another server.
_LIBPQ_OVERRIDES = {"hostaddr": "", "options": "", "target_session_attrs": "any"}
# For tests, whose data may be lost in a power cut.
_UNSAFE_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "max_wal_size": "4GB",
    "shared_buffers": "64MB",
}


class EmbeddedPostgres:
    """A PostgreSQL server in a folder, with a Unix socket that only its account and root can open.

    Any number of processes may use the same folder: each calls `start`, and the last one to `stop` stops the
    server. Not for Windows, which lacks the locks used here.
    """

    def __init__(
        self,
        root: Path,
        *,
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
        die_with_parent: bool = False,
        progress: OnStatus | None = None,
    ) -> None:
        """Does not access the folder before `start`.

        `durable=False` is faster, but loses data in a power cut; `die_with_parent` (Linux) stops the server
        when the starting thread ends; `progress` is called once a second with the current activity.
        """
        self.root = Path(root).absolute()
        self.data = self.root / "pgdata"
        self._settings = {**_SETTINGS, **({} if durable else _UNSAFE_SETTINGS), **(settings or {})}
        self._durable = durable
        self._die_with_parent = die_with_parent
        self._on_status = progress or (lambda _: None)
        self._users_lock: tuple[int, int] | None = None

    @cached_property
    def version(self) -> str:
        """The version of the programs found, such as `18.6`."""
        return version_of(find_binaries())

    def dsn(self, database: str = "postgres") -> str:
        """A libpq connection string for a database, as the superuser of this server."""
        entry = processes.read_pid_file(self._pid_file)
        folder = (entry and entry.socket_folder) or self._socket_folder
        parts = {"host": str(folder), "port": PORT, "user": folders.SUPERUSER, "dbname": database}
        return make_conninfo(**parts, **_LIBPQ_OVERRIDES)

    def running(self) -> int | None:
        """The pid of this folder's live server, started by any process."""
        entry = processes.read_pid_file(self._pid_file)
        return entry.pid if entry and processes.serves(entry.pid, self.data) else None

    def start(self) -> Self:
        """Creates the database if there is none, recovers it after a crash, or uses the running server.

        May be called again, for example after the server was killed. Raises `EmbeddedPostgresError`.
        """
        if not self.data.exists():
            # Fail before any folder is created.
            find_binaries()
            own_name()
        folders.make_root(self.root)
        processes.reap()
        with held(self.root / "start.lock", START_LOCK_SECONDS):
            was_user = self._users_lock is not None
            self._join()
            try:
                self._ensure_server()
            except BaseException:
                if not was_user:
                    self._leave()
                raise
        return self

    def stop(self) -> None:
        """Stops the server if no other process uses it. Does nothing in a forked child."""
        if self._users_lock is None or self._users_lock[1] != os.getpid():
            return
        try:
            with held(self.root / "start.lock", START_LOCK_SECONDS):
                if processes.try_exclusive(self._users_lock[0]) and (pid := self.running()):
                    processes.stop_server(pid, lambda: self.running() == pid, self._on_status)
                    self._remove_temporary_folder()
        finally:
            self._leave()

    def _remove_temporary_folder(self) -> None:
        if self._socket_folder.parent != self.root:
            with suppress(OSError):
                self._socket_folder.rmdir()

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
        return folders.socket_folder(self.root, os.geteuid())

    def _join(self) -> None:
        """Takes the shared lock of all users, which the kernel releases even after kill -9."""
        if self._users_lock is None:
            self._users_lock = (processes.open_lock(self.root / "users.lock"), os.getpid())
            processes.share(self._users_lock[0])

    def _leave(self) -> None:
        if self._users_lock:
            os.close(self._users_lock[0])
            self._users_lock = None

    def _wait_until_settled(self) -> bool:
        """Whether a server is running and ready; waits for one that is starting or stopping."""
        activity = "waiting for the database that another process started"
        for _ in processes.poll(READY_SECONDS, self._on_status, activity):
            entry = processes.read_pid_file(self._pid_file)
            if not entry or not processes.serves(entry.pid, self.data):
                return False
            if entry.ready:
                return True
        raise EmbeddedPostgresError(
            f"the server of {self.root} is neither ready nor stopped after {READY_SECONDS} s."
        )

    def _ensure_server(self) -> None:
        try:
            if not self._wait_until_settled():
                self._start_server()
        except OSError as error:
            raise EmbeddedPostgresError(f"the database in {self.root} cannot be started: {error}") from error

    def _start_server(self) -> None:
        account = choose_account(self.data, self._on_status)
        folders.ensure_access(self.root, account)
        binaries = binaries_for(account, self.root)
        with held(self.root / "server.lock", ORPHAN_SECONDS) as lock:
            if not (self.data / "PG_VERSION").exists():
                self._on_status("creating the database")
                folders.create_data(self.data, binaries, account, durable=self._durable, lock=lock)
            folders.check_version(self.data, binaries)
            folders.claim_ownership(self.data, account)
            folders.make_socket_folder(self._socket_folder, account)
            is_recovery = self._pid_file.exists()
            activity = "recovering the database after a crash" if is_recovery else "starting the database"
            folders.remove_stale_lock_files(self.data, self._socket_folder)
            self._on_status(activity)
            log, arguments = processes.Log(self.root / "postgres.log"), account.process_arguments(self.root)
            child = processes.launch(
                self._command(binaries), arguments, log, lock=lock, die_with_parent=self._die_with_parent
            )
            processes.wait_until_ready(child, self._pid_file, log, self._on_status, activity)

    def _command(self, binaries: Path) -> list[str | Path]:
        settings = [f"-c{name}={value}" for name, value in self._settings.items()]
        return [binaries / "postgres", "-D", self.data, "-k", self._socket_folder, "-p", PORT, *settings]
