"""A rebuild that is told to stop late, dies late, or finds a log that was cut: nobody is left in the dark."""

import asyncio
from typing import Any

import psycopg
import pytest

from huajuan.commands.ask_for_rebuild import ask_for_rebuild
from huajuan.projections.engine.projection import Projection
from huajuan.projections.likes import LIKES
from huajuan.projections.rebuild.errors import RebuildFailed
from huajuan.projections.rebuild.progress import Progress
from huajuan.projections.rebuild.rebuild import rebuild
from huajuan.projections.registry import PROJECTIONS
from huajuan.projections.users import USERS
from huajuan.runtime import shutdown
from huajuan.runtime.shutdown import StopAsked
from tests.event_store.studio import opened
from tests.projections.rebuild.test_rebuild import LIVE, SMALL, lived, notes, rebuilt, schemas, silent


async def test_told_to_stop_while_it_compares_it_tells_first_what_differed(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lived(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE users_v1.users SET avatar_url = 'x' WHERE id = 1")
    monkeypatch.setattr(shutdown, "stop_no_more", lambda: None)

    def stop(progress: Progress) -> None:
        if progress.doing == "comparing":
            shutdown._stop(2, None)

    with pytest.raises(StopAsked):
        rebuild(database_url, PROJECTIONS, SMALL, stop)
    with psycopg.connect(database_url) as connection:
        query = "SELECT outcome, differences->0->>'table' FROM operations.rebuilds"
        assert connection.execute(query).fetchall() == [("done", "users")]
    assert schemas(database_url) == LIVE


async def test_it_compares_whoever_was_told_and_has_left(database_url: str) -> None:
    await lived(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE users_v1.users SET avatar_url = 'x' WHERE id = 1")

    def leave(progress: Progress) -> None:
        if progress.doing == "comparing":
            raise BrokenPipeError

    report = await asyncio.to_thread(rebuild, database_url, PROJECTIONS, SMALL, leave)
    assert [difference.table for difference in report.differences] == ["users"]
    assert notes(database_url) == [("done",)]
    assert (await rebuilt(database_url)).differences == []


async def test_a_rebuild_that_died_after_its_swap_says_that_it_has_not_compared(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lived(database_url)

    def fail(*_: Any) -> None:
        raise OSError("gone")

    monkeypatch.setattr("huajuan.projections.rebuild.rebuild.compare", fail)
    monkeypatch.setattr("huajuan.projections.rebuild.rebuild.end", lambda *_: None)
    with pytest.raises(OSError, match="gone"):
        rebuild(database_url, PROJECTIONS, SMALL, silent)
    assert notes(database_url) == [("swapped, not compared",)]


async def test_tables_ahead_of_a_log_that_was_cut_are_made_anew(database_url: str) -> None:
    await lived(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE log.huajuan_events DISABLE TRIGGER ALL")
        connection.execute("DELETE FROM log.huajuan_events WHERE notification_id > 9")
        connection.execute("ALTER TABLE log.huajuan_events ENABLE TRIGGER ALL")
    report = await rebuilt(database_url)
    assert (report.position, report.compared) == (9, [])
    with psycopg.connect(database_url) as connection:
        query = "SELECT DISTINCT position FROM operations.checkpoints"
        assert connection.execute(query).fetchall() == [(9,)]


async def test_of_those_begun_for_one_request_one_rebuilds(database_url: str) -> None:
    """They come at the same time, or one after the other."""
    await lived(database_url)
    async with opened(database_url) as store:
        asked = (await ask_for_rebuild(store, LIKES.schema, "to be sure")).position

    def attempt(position: int = asked, *projections: Projection) -> str:
        try:
            rebuild(database_url, projections or (LIKES,), SMALL, silent, position)
        except RebuildFailed as refused:
            return str(refused)
        return "rebuilt"

    told = [*await asyncio.gather(*(asyncio.to_thread(attempt) for _ in range(4))), attempt()]
    assert told.count("rebuilt") == 1
    before = f"the rebuild that is asked for at position {asked} was begun before"
    assert set(told) <= {"rebuilt", before, "likes is being rebuilt already"}
    assert told[-1] == before
    assert notes(database_url) == [("done",)]
    for position, table in ((asked - 1, LIKES), (asked + 99, LIKES), (asked, USERS)):
        assert attempt(position, table) == f"at position {position} nobody asks for a rebuild of that table"
