"""Another process that uses an embedded server and ends as the test requires."""

import subprocess
import sys
from pathlib import Path
from typing import Self

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 20
PROGRAM = """
import sys
from pathlib import Path
from huajuan.embedded_postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), durable=False, die_with_parent=sys.argv[2] == "True").start()
print(server.running(), flush=True)
sys.stdin.readline()
server.stop()
"""


class User:
    """A process that starts or shares a server at once, and runs until it is ended."""

    def __init__(self, root: Path, *, die_with_parent: bool = False) -> None:
        command = [sys.executable, "-c", PROGRAM, str(root), str(die_with_parent)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=CHECKOUT, text=True)

    def server_pid(self) -> int:
        """Waits until the process has its server, and returns the server's pid."""
        assert self._process.stdout
        return int(self._process.stdout.readline())

    def leave(self) -> None:
        """Ends the process in the regular way."""
        self._process.communicate("go\n", timeout=PATIENCE_SECONDS)

    def kill(self) -> None:
        """Ends the process by kill -9."""
        self._process.kill()
        self._process.communicate(timeout=PATIENCE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self.leave()
