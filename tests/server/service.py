"""The service as a process, configured by environment variables and used over HTTP."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from huajuan.embedded_postgres import EmbeddedPostgres
from tests.limits import variables
from tests.server.processes import children, is_alive

CHECKOUT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-P", "-m", "huajuan", "serve"]
PATIENCE_SECONDS = 60
READY = "Ctrl-C stops it"
# Settings in the tests' own environment must not reach the service, except for `PG_BIN`.
KEPT = ("HUAJUAN_PG_BIN",)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def environment(**settings: object) -> dict[str, str]:
    """Settings and limits from `variables`; other HUAJUAN_… variables of the tests are not inherited."""
    ours = ("HUAJUAN_", "_HUAJUAN_")
    clean = {n: v for n, v in os.environ.items() if not n.startswith(ours) or n in KEPT}
    return clean | {"PYTHONPATH": str(CHECKOUT), "HUAJUAN_BCRYPT_COST": "4"} | variables(**settings)


def _limited(open_files: int) -> list[str]:
    """A command prefix that limits open files; 0 leaves the limit unchanged."""
    return ["sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh"] if open_files else []


class Service:
    """Starts at once. Its data is in `folder / "data"`, so that another service can continue with it."""

    def __init__(self, folder: Path, port: int = 0, *, open_files: int = 0, **settings: object) -> None:
        self.port = port or free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.postgres = EmbeddedPostgres(folder / "data" / "postgres")
        self._told = folder / f"told-{self.port}-{time.monotonic_ns()}.txt"
        given = {"data_dir": folder / "data", "port": self.port, **settings}
        with self._told.open("wb") as told:
            self.process = subprocess.Popen(
                [*_limited(open_files), *COMMAND],
                stdin=subprocess.DEVNULL,
                stderr=told,
                env=environment(**given),
                cwd=folder,
            )

    @property
    def told(self) -> str:
        """Its output so far."""
        return self._told.read_text(errors="replace")

    def ready(self) -> Self:
        self.wait_for(READY)
        return self

    def wait_for(self, words: str) -> None:
        """Waits for this output; fails if the service ends without it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while words not in self.told:
            assert self.process.poll() is None, self.told
            assert time.monotonic() < deadline, self.told
            time.sleep(0.02)

    def family(self) -> set[int]:
        """Child processes that end with it: demo ComfyUI and workers, not the shared database."""
        return children(self.process.pid) - {self.postgres.running() or 0}

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a stop signal, and returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> set[int]:
        """Kills it with -9, and returns the remaining child processes."""
        orphans = self.family()
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)
        return orphans

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends everything at the end of a test."""
        if self.process.poll() is None:
            self.stop()
        if (left := self.postgres.running()) and not _in_use(self.postgres):
            os.kill(left, signal.SIGINT)
            while is_alive(left):
                time.sleep(0.01)


def _in_use(postgres: EmbeddedPostgres) -> bool:
    """Whether another service still uses the server."""
    from huajuan.embedded_postgres.processes import open_lock, try_exclusive

    descriptor = open_lock(postgres.root / "users.lock")
    try:
        return not try_exclusive(descriptor)
    finally:
        os.close(descriptor)
