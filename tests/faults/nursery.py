"""A process that has loaded the service once and forks it on demand: a start takes a moment, not seconds."""

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.server.service import CHECKOUT, environment

PR_SET_PDEATHSIG = 1
MODULE = "tests.faults.nursery"


class Nursery:
    """All that it forked ends with it, and it ends with whoever started it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
            cwd=CHECKOUT,
        )

    def start(self, role: str, log: Path, settings: Mapping[str, object], **words: object) -> int:
        """The new process's number. `settings` by their names in lower case."""
        assert self._process.stdin
        assert self._process.stdout
        order = {"role": role, "log": str(log), "env": environment(**settings), "words": words}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=20)


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _load()
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _live(order)
        print(pid, flush=True)


def _load() -> None:
    import tests.faults.roles  # noqa: F401


def _live(order: dict[str, Any]) -> None:
    """The rest of a child's life."""
    status = 1
    try:
        _be_born(order)
        from tests.faults.roles import ROLES

        status = ROLES[order["role"]](**order["words"])
    except Exception as error:  # noqa: BLE001  there is nobody above to tell
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(status)


def _be_born(order: dict[str, Any]) -> None:
    from huajuan.runtime.fail_points import heed

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing, log = (
        os.open(os.devnull, os.O_RDWR),
        os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    )
    for old, new in ((0, nothing), (1, log), (2, log)):
        os.dup2(new, old)
    os.environ.clear()
    os.environ |= order["env"]
    heed(os.environ)


if __name__ == "__main__":
    main()
