"""`huajuan rebuild` as its user types it, told to stop, and killed."""

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import psycopg
import pytest

from huajuan.projections.registry import PROJECTIONS
from tests.event_store.process import ROOT
from tests.projections.gallery import SECONDS_MAX, all_tables, projecting, some_life
from tests.projections.rebuild.test_rebuild import LIVE, notes, schemas

# So slow that it can be caught in the act.
SLOW = {"HUAJUAN_REBUILD_PAGE_EVENTS_MAX": "1", "HUAJUAN_REBUILD_LAST_STEP_EVENTS_MAX": "0"}


def begin(dsn: str, *words: str, **settings: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HUAJUAN_DATABASE_URL": dsn, **settings}
    command = [sys.executable, "-P", "-m", "huajuan", "rebuild", *words]
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def run(dsn: str, *words: str, **settings: str) -> tuple[int, str, str]:
    process = begin(dsn, *words, **settings)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture
async def lived(database_url: str) -> str:
    async with projecting(database_url) as (store, projector):
        position = await some_life(store, 8)
        await projector.reach(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
    return database_url


def test_all_tables_or_those_named(lived: str) -> None:
    status, out, err = run(lived)
    assert (status, out.splitlines()[1]) == (
        0,
        "byte for byte as before: " + ", ".join(p.name for p in PROJECTIONS),
    )
    assert "folding: " in err
    status, out, _ = run(lived, "history", "likes", "history", "--json")
    assert (status, json.loads(out)["tables"]) == (0, ["history", "likes"])


def test_what_cannot_be_is_told_in_one_line(lived: str) -> None:
    status, out, err = run(lived, "histories")
    assert (status, out) == (1, "")
    assert err.startswith("huajuan: there is no read table histories; there are users, ")
    assert err.count("\n") == 1


def test_differences_are_told_and_are_no_success(lived: str) -> None:
    with psycopg.connect(lived, autocommit=True) as connection:
        connection.execute("DELETE FROM point_history_v2.point_history WHERE id = 2")
    status, out, _ = run(lived, "point_history")
    assert status == 2
    assert "point_history differed in 1 row and is mended: 2 (only in the new table)" in out
    assert "not compared" not in out


def test_a_table_with_other_columns_and_one_that_is_still_read_are_told(lived: str) -> None:
    with psycopg.connect(lived) as reader:
        reader.execute("SELECT count(*) FROM likes_v1.likes")
        with psycopg.connect(lived, autocommit=True) as connection:
            connection.execute("ALTER TABLE users_v1.users ADD COLUMN note text")
        status, out, _ = run(lived, "users", "likes", HUAJUAN_REBUILD_DROP_WAIT_SECONDS_MAX="0.02")
    assert (status, out.splitlines()[1:]) == (
        2,
        [
            "byte for byte as before: likes",
            "users was gone or had other columns, and is mended",
            "still read by somebody, and dropped later: likes_v1_old",
        ],
    )


def test_what_was_not_compared_is_told(lived: str) -> None:
    with psycopg.connect(lived, autocommit=True) as connection:
        connection.execute(
            "UPDATE operations.checkpoints SET position = 3, stopped_at = 4 WHERE projection = 'users_v1'"
        )
    status, out, _ = run(lived, "users", "likes")
    assert (status, out.splitlines()[1:]) == (
        0,
        ["byte for byte as before: likes", "not compared (it had stopped, or was new): users"],
    )


def test_a_rebuild_that_nobody_gave_a_reason_for_is_on_record(lived: str) -> None:
    assert run(lived, "likes")[0] == 0
    query = (
        "SELECT convert_from(state, 'UTF8')::json->>'reason' FROM log.huajuan_events "
        "WHERE topic = 'read_table.rebuild_asked'"
    )
    with psycopg.connect(lived) as connection:
        assert connection.execute(query).fetchall() == [("on the command line",)]


def position(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT max(position) FROM operations.rebuilds WHERE outcome IS NULL"
        ).fetchone()
    return row[0] or 0 if row else 0


@pytest.mark.parametrize("at", [1, 40, 90])
def test_killed_at_any_moment_it_leaves_the_live_tables_and_nothing_in_the_way(lived: str, at: int) -> None:
    before = all_tables(lived)
    process = begin(lived, **SLOW)
    wait_for(lambda: position(lived) >= at)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert all_tables(lived) == before
    status, _, err = run(lived)
    assert status == 0, err
    assert all_tables(lived) == before
    assert schemas(lived) == LIVE
    assert notes(lived) == [("died",), ("done",)]


def test_told_to_stop_it_leaves_a_note_and_nothing_else(lived: str) -> None:
    before = all_tables(lived)
    process = begin(lived, **SLOW)
    wait_for(lambda: position(lived) >= 30)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in err) == (130, False), err
    assert (schemas(lived), notes(lived), all_tables(lived)) == (LIVE, [("cancelled",)], before)


def wait_for(holds: Any) -> None:
    give_up_at = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < give_up_at
        time.sleep(0.002)
