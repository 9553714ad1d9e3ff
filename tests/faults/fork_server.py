"""A process that imports the service once and forks on request, so that a start takes milliseconds."""

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
MODULE = "tests.faults.fork_server"


class ForkServer:
    """The forked processes end with the fork server, which ends with its parent."""

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
        """Return the process id. Names of `settings` are in lower case; `words` are the role's arguments."""
        assert self._process.stdin
        assert self._process.stdout
        request = {"role": role, "log": str(log), "env": environment(**settings), "words": words}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=20)


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _load()
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run_child(request)
        print(pid, flush=True)


def _load() -> None:
    import tests.faults.roles  # noqa: F401


def _run_child(request: dict[str, Any]) -> None:
    """Run the role and exit."""
    status = 1
    try:
        _set_up_child(request)
        from tests.faults.roles import ROLES

        status = ROLES[request["role"]](**request["words"])
    except Exception as error:  # noqa: BLE001  no caller could handle it
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(status)


def _set_up_child(request: dict[str, Any]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing, log = (
        os.open(os.devnull, os.O_RDWR),
        os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    )
    for old, new in ((0, nothing), (1, log), (2, log)):
        os.dup2(new, old)
    os.environ.clear()
    os.environ |= request["env"]


if __name__ == "__main__":
    main()
