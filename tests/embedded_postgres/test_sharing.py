"""Several processes share a server: the first starts it, the last stops it."""

import subprocess
import sys
from pathlib import Path

from huajuan.embedded_postgres import EmbeddedPostgres
from tests.embedded_postgres.conftest import NewUser
from tests.embedded_postgres.user import CHECKOUT, PATIENCE_SECONDS

FORKING = """
import os, sys
from pathlib import Path
from huajuan.embedded_postgres import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1]), durable=False) as server:
    child = os.fork()
    if child == 0:
        server.stop()
        os._exit(0)
    os.waitpid(child, 0)
    print(server.running() is not None)
"""


def test_processes_that_start_at_once_share_one_server(folder: Path, new_user: NewUser) -> None:
    users = [new_user(folder) for _ in range(4)]
    assert len({user.server_pid() for user in users}) == 1


def test_the_last_process_stops_the_server(folder: Path, new_user: NewUser) -> None:
    first, last = new_user(folder), new_user(folder)
    pid = first.server_pid()
    assert last.server_pid() == pid
    server = EmbeddedPostgres(folder)
    first.leave()
    assert server.running() == pid
    last.leave()
    assert server.running() is None


def test_one_process_can_use_a_server_twice(folder: Path) -> None:
    first = EmbeddedPostgres(folder, durable=False, die_with_parent=True).start()
    with EmbeddedPostgres(folder) as second:
        first.stop()
        assert second.running()
    assert second.running() is None


def test_a_forked_child_does_not_stop_its_parents_server(folder: Path) -> None:
    command = [sys.executable, "-c", FORKING, str(folder)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.stdout == "True\n", done.stderr
    assert EmbeddedPostgres(folder).running() is None
