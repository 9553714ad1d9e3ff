"""Starts rebuilds as processes of their own, which go on when the service is restarted."""

import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable

import structlog

from huajuan.settings import PREFIX

# What `serve` was given, before it filled in its own: empty where the database is the embedded one.
GIVEN_DATABASE_URL = f"{PREFIX}GIVEN_DATABASE_URL"
_logger = structlog.get_logger(__name__)


class RebuildProcesses:
    """One a worker. Across workers the rebuild's own lock in the database refuses a second one."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._running: set[str] = set()
        self._not_started: set[str] = set()

    async def start(self, name: str, put_on_record: Callable[[], Awaitable[int]]) -> bool:
        """Put it on record, which tells at what position, then rebuild the projection `name`; false if this
        worker's last one still runs.
        """
        if name in self._running:
            return False
        self._running.add(name)
        try:
            asked = await put_on_record()
        except BaseException:
            self._running.discard(name)
            raise
        self._launch(name, asked)
        return True

    def is_not_started(self, name: str) -> bool:
        """It was put on record, and no process could be started for it."""
        return name in self._not_started

    def _launch(self, name: str, asked: int) -> None:
        self._not_started.discard(name)
        try:
            child = _launch(name, asked, self._environment())
        except OSError as error:
            self._running.discard(name)
            self._not_started.add(name)
            _logger.error("rebuild not started", projection=name, exc_info=error)
            return
        _logger.info("rebuild started", projection=name, pid=child.pid)
        threading.Thread(target=self._reap, args=(name, child), name="rebuild", daemon=True).start()

    def _reap(self, name: str, child: "subprocess.Popen[bytes]") -> None:
        code = child.wait()
        self._running.discard(name)
        _logger.info("rebuild ended", projection=name, pid=child.pid, exit_code=code)

    def _environment(self) -> dict[str, str]:
        """An embedded database is opened by the child itself, so that it is kept up until the child ends."""
        url = os.environ.get(GIVEN_DATABASE_URL, self._database_url)
        return os.environ | {f"{PREFIX}DATABASE_URL": url}


def _launch(name: str, asked: int, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    # With -P, as with us, files in the caller's folder do not pass for our modules.
    safe = ["-P"] if sys.flags.safe_path else []
    return subprocess.Popen(
        [sys.executable, *safe, "-m", "huajuan", "rebuild", name, "--on-record", str(asked)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
