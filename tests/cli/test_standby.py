"""Beside a standby the commands that only read work and make nothing, and the others say what to do."""

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
from tests.projections.gallery import SECONDS_MAX, projecting, some_life

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
        position = await some_life(store, 3)
        await projector.reach(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
    return position


def _position(dsn: str) -> int:
    with suppress(psycopg.Error), psycopg.connect(dsn) as connection:
        query = "SELECT min(position) FROM operations.checkpoints"
        return int((connection.execute(query.encode()).fetchone() or (0,))[0])
    return 0


@pytest.fixture(scope="module")
def standby() -> Iterator[str]:
    """The DSN of a hot standby of a database that was lived in."""
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


@pytest.mark.parametrize("words", READING)
def test_what_only_reads_works(standby: str, huajuan: Huajuan, words: str) -> None:
    ran = huajuan(standby, *words.split())
    assert (ran.status, "huajuan:" in ran.err) == (0, False), ran.err
    assert ran.out or words.startswith("export")


def test_the_status_is_that_of_the_primary(standby: str, huajuan: Huajuan) -> None:
    told = json.loads(huajuan(standby, "status", "--json").out)
    assert told["log_position"] > 0
    assert {one["lag_events"] for one in told["projections"]} == {0}


@pytest.mark.parametrize("words", WRITING)
def test_what_writes_says_in_one_line_that_it_is_a_standby(
    standby: str, huajuan: Huajuan, words: str
) -> None:
    ran = huajuan(standby, *words.split())
    assert (ran.status, ran.out) == (1, "")
    *_, line = [one for one in ran.err.splitlines() if one.startswith("huajuan: ")]
    assert line.startswith("huajuan: HUAJUAN_DATABASE_URL: the server is a standby, which can only be read")


@pytest.mark.parametrize("words", READING)
def test_where_nobody_ever_served_nothing_is_made(databases: Databases, huajuan: Huajuan, words: str) -> None:
    dsn = databases.dsn(name := databases.create())
    with psycopg.connect(dsn, autocommit=True) as connection:
        before = connection.execute(OBJECTS).fetchone()
        ran = huajuan(dsn, *words.split())
        after = connection.execute(OBJECTS).fetchone()
    assert (ran.status, ran.out) == (1, "")
    assert "nothing was ever served from this database: it lacks the tables" in ran.err
    assert before == after
    databases.retire(name)
