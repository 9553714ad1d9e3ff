"""`huajuan rebuild` as a process: its output, stop signals, and kills."""

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import psycopg
import pytest

from huajuan.projections.likes import LIKES
from huajuan.projections.point_history import POINT_HISTORY
from huajuan.projections.rebuild.session import RebuildLimits
from huajuan.projections.registry import PROJECTIONS
from huajuan.projections.users import USERS
from tests.event_store.process import ROOT
from tests.limits import variables
from tests.projections.gallery import SECONDS_MAX, append_history, projecting, read_all_tables
from tests.projections.rebuild.test_rebuild import LIVE, outcomes, schemas

# Slow enough to be interrupted.
SLOW = variables(rebuild=RebuildLimits(page_events_max=1, last_step_events_max=0))


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
async def populated_url(database_url: str) -> str:
    async with projecting(database_url) as (store, projector):
        position = await append_history(store, 8)
        await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
    return database_url


def test_all_tables_or_the_named_ones(populated_url: str) -> None:
    status, out, err = run(populated_url)
    assert (status, out.splitlines()[1]) == (
        0,
        "byte for byte as before: " + ", ".join(p.name for p in PROJECTIONS),
    )
    assert "folding: " in err
    status, out, _ = run(populated_url, "history", "likes", "history", "--json")
    assert (status, json.loads(out)["tables"]) == (0, ["history", "likes"])


def test_an_error_is_reported_in_one_line(populated_url: str) -> None:
    status, out, err = run(populated_url, "histories")
    assert (status, out) == (1, "")
    assert err.startswith("huajuan: there is no read table histories; there are users, ")
    assert err.count("\n") == 1


def test_differences_are_reported_with_an_exit_code(populated_url: str) -> None:
    with psycopg.connect(populated_url, autocommit=True) as connection:
        connection.execute(f"DELETE FROM {POINT_HISTORY.schema}.point_history WHERE id = 2")
    status, out, _ = run(populated_url, "point_history")
    assert status == 2
    assert "point_history differed in 1 row and is repaired: 2 (only in the new table)" in out
    assert "not compared" not in out


def test_altered_and_still_read_tables_are_reported(populated_url: str) -> None:
    with psycopg.connect(populated_url) as reader:
        reader.execute(f"SELECT count(*) FROM {LIKES.schema}.likes")
        with psycopg.connect(populated_url, autocommit=True) as connection:
            connection.execute(f"ALTER TABLE {USERS.schema}.users ADD COLUMN note text")
        brief = variables(rebuild=RebuildLimits(drop_wait_seconds_max=0.02))
        status, out, _ = run(populated_url, "users", "likes", **brief)
    assert (status, out.splitlines()[1:]) == (
        2,
        [
            "byte for byte as before: likes",
            "users was missing or had other columns, and is repaired",
            f"still in use, and dropped later: {LIKES.schema}_old",
        ],
    )


def test_tables_not_compared_are_reported(populated_url: str) -> None:
    with psycopg.connect(populated_url, autocommit=True) as connection:
        connection.execute(
            "UPDATE operations.checkpoints SET position = 3, stopped_at = 4 WHERE projection = %s",
            (USERS.schema,),
        )
    status, out, _ = run(populated_url, "users", "likes")
    assert (status, out.splitlines()[1:]) == (
        0,
        ["byte for byte as before: likes", "not compared (stopped or new): users"],
    )


def test_a_rebuild_without_a_reason_is_recorded(populated_url: str) -> None:
    assert run(populated_url, "likes")[0] == 0
    query = (
        "SELECT convert_from(state, 'UTF8')::json->>'reason' FROM log.huajuan_events "
        "WHERE topic = 'read_table.rebuild_asked'"
    )
    with psycopg.connect(populated_url) as connection:
        assert connection.execute(query).fetchall() == [("on the command line",)]


def position(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT max(position) FROM operations.rebuilds WHERE outcome IS NULL"
        ).fetchone()
    return row[0] or 0 if row else 0


@pytest.mark.parametrize("at", [1, 40, 90])
def test_a_kill_at_any_moment_leaves_the_live_tables(populated_url: str, at: int) -> None:
    before = read_all_tables(populated_url)
    process = begin(populated_url, **SLOW)
    wait_for(lambda: position(populated_url) >= at)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert read_all_tables(populated_url) == before
    status, _, err = run(populated_url)
    assert status == 0, err
    assert read_all_tables(populated_url) == before
    assert schemas(populated_url) == LIVE
    assert outcomes(populated_url) == [("died",), ("done",)]


def test_a_stop_signal_leaves_only_a_record(populated_url: str) -> None:
    before = read_all_tables(populated_url)
    process = begin(populated_url, **SLOW)
    wait_for(lambda: position(populated_url) >= 30)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in err) == (130, False), err
    assert (schemas(populated_url), outcomes(populated_url), read_all_tables(populated_url)) == (
        LIVE,
        [("cancelled",)],
        before,
    )


def wait_for(holds: Any) -> None:
    give_up_at = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < give_up_at
        time.sleep(0.002)
