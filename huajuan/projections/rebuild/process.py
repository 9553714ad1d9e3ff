"""Starts rebuilds as child processes, which go on when the service is restarted."""

import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable

import structlog

from huajuan.settings import INTERNAL_PREFIX, PREFIX

# The database URL in the settings of `serve`; empty for the embedded database, whose URL is found at the
# start.
GIVEN_DATABASE_URL = f"{INTERNAL_PREFIX}GIVEN_DATABASE_URL"
_logger = structlog.get_logger(__name__)


class RebuildProcesses:
    """One a worker. A second rebuild of a table by another worker is refused by an advisory lock."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._running: set[str] = set()
        self._failed: set[str] = set()

    async def start(self, name: str, record_request: Callable[[], Awaitable[int]]) -> bool:
        """Rebuild the projection `name` after `record_request`, which returns the position of its event in
        the log.

        Returns false if this worker's last rebuild of it is still running.
        """
        if name in self._running:
            return False
        self._running.add(name)
        try:
            position = await record_request()
        except BaseException:
            self._running.discard(name)
            raise
        self._launch(name, position)
        return True

    def failed_to_start(self, name: str) -> bool:
        """The last request was recorded, but its process could not be started."""
        return name in self._failed

    def _launch(self, name: str, position: int) -> None:
        self._failed.discard(name)
        try:
            child = _launch(name, position, self._environment())
        except OSError as error:
            self._running.discard(name)
            self._failed.add(name)
            _logger.error("rebuild not started", projection=name, exc_info=error)
            return
        _logger.info("rebuild started", projection=name, pid=child.pid)
        threading.Thread(target=self._reap, args=(name, child), name="rebuild", daemon=True).start()

    def _reap(self, name: str, child: "subprocess.Popen[bytes]") -> None:
        code = child.wait()
        self._running.discard(name)
        _logger.info("rebuild ended", projection=name, pid=child.pid, exit_code=code)

    def _environment(self) -> dict[str, str]:
        """The child opens an embedded database itself, so that it runs until the child ends."""
        url = os.environ.get(GIVEN_DATABASE_URL, self._database_url)
        return os.environ | {f"{PREFIX}DATABASE_URL": url}


def _launch(name: str, position: int, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    # With -P, as in this process, the current folder is not on the module search path.
    safe = ["-P"] if sys.flags.safe_path else []
    return subprocess.Popen(
        [sys.executable, *safe, "-m", "huajuan", "rebuild", name, "--on-record", str(position)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
