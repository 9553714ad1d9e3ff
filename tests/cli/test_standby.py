"""On a standby, commands that only read work, and the others explain why they cannot."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
import pytest

from huajuan.embedded_postgres import EmbeddedPostgres
from huajuan.embedded_postgres.binaries import find_binaries
from huajuan.projections.registry import PROJECTIONS
from huajuan.server.database import create_tables
from tests.cli.conftest import Huajuan
from tests.database import Databases, eventually, fast_folder, own_postgres, passable_folder
from tests.projections.gallery import SECONDS_MAX, append_history, projecting

READING = (
    "status",
    "status --json",
    "verify",
    "head",
    "export --out /dev/null",
    "replay person1",
    "replay --all",
    "timeline person1",
)
WRITING = (
    "serve",
    "points person1 +1 --reason sorry",
    "admin grant person1",
    "rebuild likes",
    "storage adopt",
)
OBJECTS = "SELECT count(*) FROM pg_class"


async def _lived(dsn: str) -> int:
    async with projecting(dsn) as (store, projector):
        position = await append_history(store, 3)
        await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
    return position


def _position(dsn: str) -> int:
    with suppress(psycopg.Error), psycopg.connect(dsn) as connection:
        query = "SELECT min(position) FROM operations.checkpoints"
        return int((connection.execute(query.encode()).fetchone() or (0,))[0])
    return 0


@pytest.fixture(scope="module")
def standby() -> Iterator[str]:
    """The DSN of a hot standby of a database with events."""
    with ExitStack() as stack:
        primary = stack.enter_context(own_postgres(settings={"fsync": "off"}))
        create_tables(primary.dsn())
        folder = stack.enter_context(passable_folder(fast_folder()))
        command: list[str | Path] = [
            find_binaries() / "pg_basebackup",
            "-D",
            folder / "pgdata",
            "-R",
            "-c",
            "fast",
        ]
        subprocess.run([*command, "-d", primary.dsn()], check=True, capture_output=True)
        server = EmbeddedPostgres(folder, settings={"fsync": "off"}, die_with_parent=True)
        stack.callback(shutil.rmtree, folder / "pgdata")
        stack.enter_context(server)
        position = asyncio.run(_lived(primary.dsn()))
        eventually(lambda: _position(server.dsn()) >= position)
        yield server.dsn()


@pytest.mark.parametrize("arguments", READING)
def test_reading_commands_work(standby: str, huajuan: Huajuan, arguments: str) -> None:
    ran = huajuan(standby, *arguments.split())
    assert (ran.status, "huajuan:" in ran.err) == (0, False), ran.err
    assert ran.out or arguments.startswith("export")


def test_the_status_equals_that_of_the_primary(standby: str, huajuan: Huajuan) -> None:
    told = json.loads(huajuan(standby, "status", "--json").out)
    assert told["log_position"] > 0
    assert {one["lag_events"] for one in told["projections"]} == {0}


@pytest.mark.parametrize("arguments", WRITING)
def test_writing_commands_report_the_standby_in_one_line(
    standby: str, huajuan: Huajuan, arguments: str
) -> None:
    ran = huajuan(standby, *arguments.split())
    assert (ran.status, ran.out) == (1, "")
    *_, line = [one for one in ran.err.splitlines() if one.startswith("huajuan: ")]
    assert line.startswith("huajuan: HUAJUAN_DATABASE_URL: the server is a standby, which can only be read")


@pytest.mark.parametrize("arguments", READING)
def test_on_an_empty_database_nothing_is_created(
    databases: Databases, huajuan: Huajuan, arguments: str
) -> None:
    dsn = databases.dsn(name := databases.create())
    with psycopg.connect(dsn, autocommit=True) as connection:
        before = connection.execute(OBJECTS).fetchone()
        ran = huajuan(dsn, *arguments.split())
        after = connection.execute(OBJECTS).fetchone()
    assert (ran.status, ran.out) == (1, "")
    assert "no server was ever started on this database: it has no tables" in ran.err
    assert before == after
    databases.retire(name)
