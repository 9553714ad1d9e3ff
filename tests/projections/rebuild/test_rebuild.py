"""Rebuilt tables equal the live ones, byte for byte, while these are read and written."""

import asyncio
from typing import Any

import msgspec
import psycopg
import pytest

from huajuan.commands.operations import skip_event
from huajuan.domain.account import Account
from huajuan.projections.engine.projection import Handler, Projection, of_position, of_stream
from huajuan.projections.engine.table import Table
from huajuan.projections.history import HISTORY
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.point_history import POINT_HISTORY
from huajuan.projections.rebuild.rebuild import RebuildReport, rebuild_tables
from huajuan.projections.rebuild.schemas import create_read_tables
from huajuan.projections.rebuild.session import (
    AlreadyRebuilding,
    EventNotFolded,
    RebuildLimits,
    RebuildProgress,
    exclusive,
)
from huajuan.projections.registry import PROJECTIONS
from huajuan.projections.users import USERS
from tests.projections.gallery import SECONDS_MAX, append_history, projecting, read_all_tables

SMALL = RebuildLimits(page_events_max=7, rows_kept_max=4, last_step_events_max=5)


def ignore_progress(_: RebuildProgress) -> None:
    """A callback that does nothing."""


async def run_rebuild(
    dsn: str, projections: tuple[Projection, ...] = PROJECTIONS, limits: RebuildLimits = SMALL, **more: Any
) -> RebuildReport:
    return await asyncio.to_thread(rebuild_tables, dsn, projections, limits, ignore_progress, **more)


def schemas(dsn: str) -> set[str]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ '_v[0-9]+'").fetchall()
    return {name for (name,) in rows}


def outcomes(dsn: str) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        return connection.execute("SELECT outcome FROM operations.rebuilds ORDER BY id").fetchall()


LIVE = {projection.schema for projection in PROJECTIONS}


@pytest.mark.parametrize("limits", [SMALL, RebuildLimits()], ids=["small", "usual"])
async def test_the_new_tables_equal_the_old_ones(database_url: str, limits: RebuildLimits) -> None:
    async with projecting(database_url) as (store, projector):
        position = await append_history(store)
        await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
        before = read_all_tables(database_url)
        report = await run_rebuild(database_url, limits=limits)
        assert report.differences == []
        assert report.compared == [p.name for p in PROJECTIONS]
        assert read_all_tables(database_url) == before
        assert (schemas(database_url), outcomes(database_url)) == (LIVE, [("done",)])
        position = await append_history(store, 1, "later")
        assert await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)


async def test_a_damaged_row_is_reported_and_repaired(database_url: str) -> None:
    async with projecting(database_url) as (store, projector):
        position = await append_history(store)
        await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
    before = read_all_tables(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        damage = f"UPDATE {USERS.schema}.users SET avatar_url = 'x' WHERE id = 1 RETURNING account_id::text"
        (damaged,) = connection.execute(damage).fetchone()  # type: ignore[misc]
        connection.execute(f"DELETE FROM {POINT_HISTORY.schema}.point_history WHERE id = 2")
    report = await run_rebuild(database_url)
    found = {d.table: (d.rows, d.first) for d in report.differences}
    assert found == {
        "users": (1, {damaged: "changed"}),
        "point_history": (1, {"2": "only in the new table"}),
    }
    assert read_all_tables(database_url) == before


async def test_only_the_given_tables_are_rebuilt(database_url: str) -> None:
    async with projecting(database_url) as (store, projector):
        position = await append_history(store)
        await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
    report = await run_rebuild(database_url, (HISTORY,))
    assert (report.tables, report.differences) == (["history"], [])


async def test_a_second_rebuild_of_a_table_is_refused(database_url: str) -> None:
    create_read_tables(database_url, PROJECTIONS)
    with psycopg.connect(database_url, autocommit=True) as connection, exclusive(connection, [HISTORY]):
        with pytest.raises(AlreadyRebuilding, match="history is being rebuilt already"):
            await run_rebuild(database_url)
        assert (await run_rebuild(database_url, (USERS,))).differences == []
    assert (await run_rebuild(database_url)).differences == []


class Tally(msgspec.Struct):
    """A row with the position of its first event as key, which later events change."""

    id: int
    seen: int


async def test_a_row_with_a_position_as_key_may_be_changed_by_later_events(database_url: str) -> None:
    tallies = Projection(
        "tallies",
        1,
        Table("tallies", Tally, "id"),
        {
            Account.Registered: Handler(of_position, lambda _, __, position: Tally(position, 0)),
            Account.CheckedIn: Handler(lambda _, __: 1, lambda row, _, __: Tally(row.id, row.seen + 1)),
        },
    )
    create_read_tables(database_url, (tallies,))
    async with projecting(database_url, (tallies,)) as (store, projector):
        position = await append_history(store)
        await projector.wait_for_position(position, tallies, seconds_max=SECONDS_MAX)
        report = await run_rebuild(database_url, (tallies,))
    assert (report.compared, report.differences) == (["tallies"], [])
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT max(seen) FROM tallies_v1.tallies").fetchone()
    assert row
    assert row[0] > 1


def bad(row: Any, event: Any, position: int) -> Any:
    raise ZeroDivisionError


async def test_a_failing_fold_leaves_the_old_table_and_reports_the_event(database_url: str) -> None:
    failing_projection = Projection(
        "users", USERS.version, USERS.table, {**USERS.handlers, Account.CheckedIn: Handler(of_stream, bad)}
    )
    async with projecting(database_url) as (store, projector):
        position = await append_history(store, 1)
        await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
        before = read_all_tables(database_url)
        with pytest.raises(
            EventNotFolded, match="users cannot fold the event at position 2: ZeroDivisionError"
        ):
            await run_rebuild(database_url, (failing_projection,))
        assert read_all_tables(database_url) == before
        assert schemas(database_url) == LIVE
        ((outcome,),) = outcomes(database_url)
        assert outcome == "failed: users cannot fold the event at position 2: ZeroDivisionError"
        await skip_event(store, USERS.schema, 2, "account.checked_in", "it cannot be folded")
        report = await run_rebuild(database_url, (failing_projection,))
        assert report.differences == []


async def test_a_stopped_table_is_rebuilt_to_the_end_of_the_log_and_goes_on(database_url: str) -> None:
    async with projecting(database_url, (POINT_BALANCES,)) as (store, projector):
        position = await append_history(store, 2)
        await projector.wait_for_position(position, POINT_BALANCES, seconds_max=SECONDS_MAX)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE operations.checkpoints SET position = 3, stopped_at = 4")
    report = await run_rebuild(database_url, (POINT_BALANCES,))
    assert (report.compared, report.position) == ([], position)
    async with projecting(database_url, (POINT_BALANCES,)) as (store, projector):
        position = await append_history(store, 1, "later")
        assert await projector.wait_for_position(position, POINT_BALANCES, seconds_max=SECONDS_MAX)


async def test_cancelling_leaves_only_a_record(database_url: str) -> None:
    async with projecting(database_url) as (store, projector):
        position = await append_history(store)
        await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
    before = read_all_tables(database_url)

    def cancel(progress: RebuildProgress) -> None:
        if progress.doing == cancelled_at:
            raise KeyboardInterrupt

    for cancelled_at in ("folding", "indexing"):  # noqa: B007  the function above reads it
        with pytest.raises(KeyboardInterrupt):
            rebuild_tables(database_url, PROJECTIONS, SMALL, cancel)
        assert schemas(database_url) == LIVE
    assert outcomes(database_url) == [("cancelled",), ("cancelled",)]
    assert read_all_tables(database_url) == before


async def populate(dsn: str) -> None:
    async with projecting(dsn) as (store, projector):
        position = await append_history(store)
        await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)


async def test_readers_and_writers_go_on_during_rebuilds(database_url: str) -> None:
    async with projecting(database_url) as (store, projector):
        await append_history(store)
        done = asyncio.Event()
        seen: list[int] = []

        async def write() -> None:
            number = 0
            while not done.is_set():
                number += 1
                position = await append_history(store, 1, f"writer{number}-")
                assert await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)

        async def read() -> None:
            async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
                while not done.is_set():
                    query = f"SELECT count(*) FROM {HISTORY.schema}.history WHERE id IS NOT NULL"
                    row = await (await connection.execute(query, prepare=True)).fetchone()
                    assert row
                    seen.append(row[0])
                    await asyncio.sleep(0)

        async def rebuild_often() -> None:
            try:
                for _ in range(5):
                    assert (await run_rebuild(database_url)).differences == []
            finally:
                done.set()

        async with asyncio.TaskGroup() as tasks:
            for work in (write(), read(), read(), rebuild_often()):
                tasks.create_task(work)
        assert seen
