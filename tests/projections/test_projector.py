"""Live projections: exactly once, by one leader at a time, whatever the batches and whoever dies."""

import asyncio
import sys
from typing import Any

import psycopg
import pytest

from huajuan.postgres.statements import Statements
from huajuan.projections.history import HISTORY
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.queries.image_list import Wanted, list_images
from huajuan.projections.queries.read_tables import ReadTables
from huajuan.projections.registry import PROJECTIONS
from huajuan.projections.users import USERS, user
from tests.event_store.process import ROOT
from tests.event_store.studio import check_in, register
from tests.projections.gallery import (
    SECONDS_MAX,
    all_tables,
    draw,
    failing,
    forget_everything,
    projecting,
    some_life,
    whole_table,
)


def checkpoint(dsn: str, name: str) -> Any:
    with psycopg.connect(dsn) as connection:
        query = "SELECT position, stopped_at, stopped_by FROM operations.checkpoints WHERE projection = %s"
        return connection.execute(query, (name,)).fetchone()


async def test_after_waiting_for_a_write_the_tables_show_it(database_url: str) -> None:
    async with projecting(database_url) as (store, projector):
        ann = await register(store, "ann")
        await check_in(store, ann)
        position = await draw(store, ann)
        assert await projector.reach(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
        tables = ReadTables(Statements(store._pool, SECONDS_MAX))
        found = await user(tables, ann)
        assert found
        assert (found.id, found.username, found.email, found.score) == (1, "ann", "ann@example.org", 80)
        (image,) = await list_images(tables, Wanted(account_id=ann), 10)
        assert (image.username, image.prompt, image.width, image.id) == ("ann", "sun", 220, position)


async def test_the_wait_is_rung_not_polled(database_url: str) -> None:
    async with projecting(database_url, poll_seconds=3600) as (store, projector):
        ann = await register(store, "ann")
        for day in range(20):
            position = (await check_in(store, ann, day)).position
            assert await projector.reach(position, USERS, POINT_BALANCES, seconds_max=SECONDS_MAX)


async def test_what_another_process_appended_is_folded_without_polling(database_url: str) -> None:
    async with (
        projecting(database_url, poll_seconds=3600) as (_, projector),
        projecting(database_url, ()) as (elsewhere, _),
    ):
        await asyncio.sleep(0.3)  # both listen by now
        position = await some_life(elsewhere, 1)
        assert await projector.reach(position, *PROJECTIONS, seconds_max=SECONDS_MAX)


async def test_a_position_that_does_not_come_is_waited_for_up_to_the_bound(database_url: str) -> None:
    async with projecting(database_url) as (_, projector):
        assert not await projector.reach(99, USERS, seconds_max=0.05)


@pytest.mark.parametrize("batch", [1, 3, 5_000])
async def test_any_size_of_batch_gives_the_same_tables(database_url: str, batch: int) -> None:
    async with projecting(database_url) as (store, projector):
        position = await some_life(store)
        assert await projector.reach(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
    live = all_tables(database_url)
    assert [len(rows) for rows in live.values()][:7] == [5, 5, 5 * 5, 10, 15, 0, 0]
    forget_everything(database_url)
    async with projecting(database_url, batch_events_max=batch) as (_, projector):
        assert await projector.reach(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
    assert all_tables(database_url) == live


async def test_many_new_rows_go_in_by_copy_and_are_the_same(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with projecting(database_url) as (store, projector):
        position = await some_life(store)
        assert await projector.reach(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
    inserted = all_tables(database_url)
    forget_everything(database_url)
    monkeypatch.setattr("huajuan.projections.engine.apply.COPY_ROWS_MIN", 1)
    async with projecting(database_url) as (_, projector):
        assert await projector.reach(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
    assert all_tables(database_url) == inserted


async def test_two_processes_fold_every_event_exactly_once(database_url: str) -> None:
    async with (
        projecting(database_url, batch_events_max=2) as (here, one),
        projecting(database_url, batch_events_max=2) as (there, other),
    ):
        positions = await asyncio.gather(*(some_life(s, 8, p) for s, p in ((here, "a"), (there, "b"))))
        for projector in (one, other):
            assert await projector.reach(max(positions), *PROJECTIONS, seconds_max=SECONDS_MAX)
    live = all_tables(database_url)
    forget_everything(database_url)
    async with projecting(database_url) as (_, projector):
        assert await projector.reach(max(positions), *PROJECTIONS, seconds_max=SECONDS_MAX)
    assert all_tables(database_url) == live


async def test_a_leader_killed_in_mid_batch_is_followed_by_another(database_url: str) -> None:
    async with projecting(database_url, ()) as (store, _):
        position = await some_life(store, 30)
    leader = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.projections.slow_leader", database_url,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert leader.stdout
    await leader.stdout.readline()  # it holds the row, and has folded part of a batch
    leader.kill()
    await leader.wait()
    async with projecting(database_url) as (_, projector):
        assert await projector.reach(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
    assert [row[1] for row in whole_table(database_url, POINT_BALANCES)] == [100] * 30


async def test_a_failing_event_stops_its_projection_by_name_and_no_other(database_url: str) -> None:
    bad = failing(lambda event: event.username == "ben")
    async with projecting(database_url, (*PROJECTIONS, bad)) as (store, projector):
        await register(store, "ann")
        ben = await register(store, "ben")
        position = (await check_in(store, ben)).position
        assert await projector.reach(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
        assert not await projector.reach(position, bad, seconds_max=SECONDS_MAX)
        assert projector.positions.is_stopped("failing_v1")
    assert checkpoint(database_url, "failing_v1") == (1, 2, "ZeroDivisionError")
    assert [row[2] for row in whole_table(database_url, bad)] == ["ann"]


async def test_a_projection_that_was_mended_goes_on_by_itself(database_url: str) -> None:
    async with projecting(database_url, (failing(lambda event: event.username == "ben"),)) as (
        store,
        projector,
    ):
        for name in ("ann", "ben", "cid"):
            await register(store, name)
        assert not await projector.reach(3, *projector.projections, seconds_max=SECONDS_MAX)
    mended = failing(lambda _: False)
    async with projecting(database_url, (mended,)) as (_, projector):
        assert await projector.reach(3, mended, seconds_max=SECONDS_MAX)
    assert checkpoint(database_url, "failing_v1") == (3, None, None)
    assert sorted(row[2] for row in whole_table(database_url, mended)) == ["ann", "ben", "cid"]


async def test_an_event_nobody_can_read_stops_the_projections_there(database_url: str) -> None:
    async with projecting(database_url) as (store, projector):
        await register(store, "ann")
        await register(store, "ben")
        assert await projector.reach(2, USERS, seconds_max=SECONDS_MAX)
    with psycopg.connect(database_url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE log.huajuan_events SET state = 'not what it was' WHERE notification_id = 2"
        )
    forget_everything(database_url)
    async with projecting(database_url) as (_, projector):
        assert not await projector.reach(2, USERS, seconds_max=SECONDS_MAX)
        assert await projector.reach(2, HISTORY, seconds_max=SECONDS_MAX), "it folds none of this kind"
        assert projector.is_alive()
    assert checkpoint(database_url, "users_v1")[:2] == (1, 2)


async def test_kinds_of_events_that_only_newer_processes_know_are_passed_over(database_url: str) -> None:
    async with projecting(database_url) as (store, projector):
        position = await some_life(store, 1)
        with psycopg.connect(database_url) as connection:
            connection.execute(
                "SELECT log.append('{0}', ARRAY[gen_random_uuid()], '{1}', '{from.the.future}', ARRAY['{}'::bytea])"
            )
        assert await projector.reach(position + 1, *PROJECTIONS, seconds_max=SECONDS_MAX)
        position = await some_life(store, 1, "later")
        assert await projector.reach(position, *PROJECTIONS, seconds_max=SECONDS_MAX)


async def test_projections_go_on_after_their_connections_are_cut(database_url: str) -> None:
    async with projecting(database_url) as (store, projector):
        await some_life(store, 2, "before")
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as knife:
            await knife.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        position = await some_life(store, 2, "after")
        assert await projector.reach(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
        assert projector.is_alive()


async def test_a_projection_added_later_fills_itself_from_the_first_event(database_url: str) -> None:
    async with projecting(database_url) as (store, projector):
        position = await some_life(store)
    added = failing(lambda _: False)
    async with projecting(database_url, (*PROJECTIONS, added)) as (_, projector):
        assert await projector.reach(position, added, seconds_max=SECONDS_MAX)
    assert len(whole_table(database_url, added)) == 5


async def test_one_that_is_far_behind_holds_nobody_up(database_url: str) -> None:
    """By turns: those who are in front show each write at once, and the other arrives as well."""
    async with projecting(database_url) as (store, projector):
        position = await some_life(store, 30)
        await projector.reach(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
    added = failing(lambda _: False)
    async with projecting(database_url, (*PROJECTIONS, added), turn_events_max=2) as (store, projector):
        ann = await register(store, "ann")
        behind = []
        for day in range(10):
            position = (await check_in(store, ann, day)).position
            assert await projector.reach(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
            behind.append(projector.positions[added.schema] < position)
        assert behind[0], "else nothing was shown"
        assert await projector.reach(position, added, seconds_max=SECONDS_MAX)
    assert len(whole_table(database_url, added)) == 31
