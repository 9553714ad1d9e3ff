"""Rebuilds that are stopped or killed late, that find a log that was cut, or that are requested twice."""

import asyncio
from typing import Any

import psycopg
import pytest

from huajuan.commands.operations import request_rebuild
from huajuan.projections.engine.projection import Projection
from huajuan.projections.likes import LIKES
from huajuan.projections.rebuild.rebuild import rebuild_tables
from huajuan.projections.rebuild.session import RebuildFailed, RebuildProgress
from huajuan.projections.registry import PROJECTIONS
from huajuan.projections.users import USERS
from huajuan.runtime import shutdown
from huajuan.runtime.shutdown import ShutdownRequested
from tests.event_store.helpers import opened
from tests.projections.rebuild.test_rebuild import (
    LIVE,
    SMALL,
    ignore_progress,
    outcomes,
    populate,
    run_rebuild,
    schemas,
)


async def test_a_stop_signal_during_the_comparison_waits_for_its_record(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await populate(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"UPDATE {USERS.schema}.users SET avatar_url = 'x' WHERE id = 1")
    monkeypatch.setattr(shutdown, "ignore_stop_signals", lambda: None)

    def stop(progress: RebuildProgress) -> None:
        if progress.doing == "comparing":
            shutdown._stop(2, None)

    with pytest.raises(ShutdownRequested):
        rebuild_tables(database_url, PROJECTIONS, SMALL, stop)
    with psycopg.connect(database_url) as connection:
        query = "SELECT outcome, differences->0->>'table' FROM operations.rebuilds"
        assert connection.execute(query).fetchall() == [("done", "users")]
    assert schemas(database_url) == LIVE


async def test_it_compares_after_the_reader_of_the_progress_has_gone(database_url: str) -> None:
    await populate(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"UPDATE {USERS.schema}.users SET avatar_url = 'x' WHERE id = 1")

    def leave(progress: RebuildProgress) -> None:
        if progress.doing == "comparing":
            raise BrokenPipeError

    report = await asyncio.to_thread(rebuild_tables, database_url, PROJECTIONS, SMALL, leave)
    assert [difference.table for difference in report.differences] == ["users"]
    assert outcomes(database_url) == [("done",)]
    assert (await run_rebuild(database_url)).differences == []


async def test_a_rebuild_that_died_after_its_swap_is_recorded_as_not_compared(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await populate(database_url)

    def fail(*_: Any) -> None:
        raise OSError("gone")

    monkeypatch.setattr("huajuan.projections.rebuild.rebuild.compare_tables", fail)
    monkeypatch.setattr("huajuan.projections.rebuild.rebuild._Rebuild.abort", lambda *_: None)
    with pytest.raises(OSError, match="gone"):
        rebuild_tables(database_url, PROJECTIONS, SMALL, ignore_progress)
    assert outcomes(database_url) == [("swapped, not compared",)]


async def test_tables_ahead_of_a_cut_log_are_rebuilt(database_url: str) -> None:
    await populate(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE log.huajuan_events DISABLE TRIGGER ALL")
        connection.execute("DELETE FROM log.huajuan_events WHERE notification_id > 9")
        connection.execute("ALTER TABLE log.huajuan_events ENABLE TRIGGER ALL")
    report = await run_rebuild(database_url)
    assert (report.position, report.compared) == (9, [])
    with psycopg.connect(database_url) as connection:
        query = "SELECT DISTINCT position FROM operations.checkpoints"
        assert connection.execute(query).fetchall() == [(9,)]


async def test_one_request_starts_one_rebuild(database_url: str) -> None:
    """At the same time, and one after the other."""
    await populate(database_url)
    async with opened(database_url) as store:
        requested = (await request_rebuild(store, LIKES.schema, "to be sure")).position

    def attempt(position: int = requested, *projections: Projection) -> str:
        try:
            rebuild_tables(database_url, projections or (LIKES,), SMALL, ignore_progress, position)
        except RebuildFailed as refused:
            return str(refused)
        return "rebuilt"

    results = [*await asyncio.gather(*(asyncio.to_thread(attempt) for _ in range(4))), attempt()]
    assert results.count("rebuilt") == 1
    before = f"the rebuild requested at position {requested} was started before"
    assert set(results) <= {"rebuilt", before, "likes is being rebuilt already"}
    assert results[-1] == before
    assert outcomes(database_url) == [("done",)]
    for position, table in ((requested - 1, LIKES), (requested + 99, LIKES), (requested, USERS)):
        assert (
            attempt(position, table) == f"the event at position {position} requests no rebuild of that table"
        )
