"""Live projections fold each event exactly once, with any batch size, many processes, and after crashes."""

import asyncio
import sys
from typing import Any

import psycopg
import pytest

from huajuan.postgres.statements import Statements
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.history import HISTORY
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.queries.accounts import own_profile
from huajuan.projections.queries.images import ImageFilter, list_images
from huajuan.projections.registry import PROJECTIONS
from huajuan.projections.users import USERS
from tests.event_store.helpers import check_in, register
from tests.event_store.process import ROOT
from tests.projections.gallery import (
    SECONDS_MAX,
    append_history,
    draw_image,
    failing_projection,
    projecting,
    read_all_tables,
    read_table,
    reset_read_tables,
)


def checkpoint(dsn: str, name: str) -> Any:
    with psycopg.connect(dsn) as connection:
        query = "SELECT position, stopped_at, stopped_by FROM operations.checkpoints WHERE projection = %s"
        return connection.execute(query, (name,)).fetchone()


async def test_tables_show_a_write_after_waiting_for_its_position(database_url: str) -> None:
    async with projecting(database_url) as (store, projector):
        ann = await register(store, "ann")
        await check_in(store, ann)
        position = await draw_image(store, ann)
        assert await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
        tables = ReadTables(Statements(store._pool, SECONDS_MAX))
        found = await own_profile(tables, ann)
        assert found
        assert (found.id, found.username, found.email, found.score) == (1, "ann", "ann@example.org", 80)
        (image,) = await list_images(tables, ImageFilter(account_id=ann), 10)
        assert (image.username, image.prompt, image.width, image.id) == ("ann", "sun", 220, position)


async def test_the_wait_ends_without_polling(database_url: str) -> None:
    async with projecting(database_url, poll_seconds=3600) as (store, projector):
        ann = await register(store, "ann")
        for day in range(20):
            position = (await check_in(store, ann, day)).position
            assert await projector.wait_for_position(position, USERS, POINT_BALANCES, seconds_max=SECONDS_MAX)


async def test_events_of_another_process_are_folded_without_polling(database_url: str) -> None:
    async with (
        projecting(database_url, poll_seconds=3600) as (_, projector),
        projecting(database_url, ()) as (elsewhere, _),
    ):
        await asyncio.sleep(0.3)  # both listen by now
        position = await append_history(elsewhere, 1)
        assert await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)


async def test_waiting_for_a_position_has_a_time_limit(database_url: str) -> None:
    async with projecting(database_url) as (_, projector):
        assert not await projector.wait_for_position(99, USERS, seconds_max=0.05)


@pytest.mark.parametrize("batch", [1, 3, 5_000])
async def test_any_batch_size_gives_the_same_tables(database_url: str, batch: int) -> None:
    async with projecting(database_url) as (store, projector):
        position = await append_history(store)
        assert await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
    live = read_all_tables(database_url)
    assert [len(rows) for rows in live.values()][:7] == [5, 5, 5 * 5, 10, 15, 0, 0]
    reset_read_tables(database_url)
    async with projecting(database_url, batch_events_max=batch) as (_, projector):
        assert await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
    assert read_all_tables(database_url) == live


async def test_rows_inserted_by_copy_are_the_same(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with projecting(database_url) as (store, projector):
        position = await append_history(store)
        assert await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
    inserted = read_all_tables(database_url)
    reset_read_tables(database_url)
    monkeypatch.setattr("huajuan.projections.engine.batch.COPY_ROWS_MIN", 1)
    async with projecting(database_url) as (_, projector):
        assert await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
    assert read_all_tables(database_url) == inserted


async def test_two_processes_fold_every_event_exactly_once(database_url: str) -> None:
    async with (
        projecting(database_url, batch_events_max=2) as (here, one),
        projecting(database_url, batch_events_max=2) as (there, other),
    ):
        positions = await asyncio.gather(*(append_history(s, 8, p) for s, p in ((here, "a"), (there, "b"))))
        for projector in (one, other):
            assert await projector.wait_for_position(max(positions), *PROJECTIONS, seconds_max=SECONDS_MAX)
    live = read_all_tables(database_url)
    reset_read_tables(database_url)
    async with projecting(database_url) as (_, projector):
        assert await projector.wait_for_position(max(positions), *PROJECTIONS, seconds_max=SECONDS_MAX)
    assert read_all_tables(database_url) == live


async def test_another_process_takes_over_after_a_kill_in_mid_batch(database_url: str) -> None:
    async with projecting(database_url, ()) as (store, _):
        position = await append_history(store, 30)
    leader = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.projections.slow_leader", database_url,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert leader.stdout
    await leader.stdout.readline()  # it has locked the checkpoint and folded part of a batch
    leader.kill()
    await leader.wait()
    async with projecting(database_url) as (_, projector):
        assert await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
    assert [row[1] for row in read_table(database_url, POINT_BALANCES)] == [100] * 30


async def test_a_failing_event_stops_only_its_projection(database_url: str) -> None:
    bad = failing_projection(lambda event: event.username == "ben")
    async with projecting(database_url, (*PROJECTIONS, bad)) as (store, projector):
        await register(store, "ann")
        ben = await register(store, "ben")
        position = (await check_in(store, ben)).position
        assert await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
        assert not await projector.wait_for_position(position, bad, seconds_max=SECONDS_MAX)
        assert projector.positions.is_stopped("failing_v1")
    assert checkpoint(database_url, "failing_v1") == (1, 2, "ZeroDivisionError")
    assert [row[2] for row in read_table(database_url, bad)] == ["ann"]


async def test_a_corrected_projection_goes_on_by_itself(database_url: str) -> None:
    async with projecting(database_url, (failing_projection(lambda event: event.username == "ben"),)) as (
        store,
        projector,
    ):
        for name in ("ann", "ben", "cid"):
            await register(store, name)
        assert not await projector.wait_for_position(3, *projector.projections, seconds_max=SECONDS_MAX)
    corrected = failing_projection(lambda _: False)
    async with projecting(database_url, (corrected,)) as (_, projector):
        assert await projector.wait_for_position(3, corrected, seconds_max=SECONDS_MAX)
    assert checkpoint(database_url, "failing_v1") == (3, None, None)
    assert sorted(row[2] for row in read_table(database_url, corrected)) == ["ann", "ben", "cid"]


async def test_an_undecodable_event_stops_the_projections_that_fold_it(database_url: str) -> None:
    async with projecting(database_url) as (store, projector):
        await register(store, "ann")
        await register(store, "ben")
        assert await projector.wait_for_position(2, USERS, seconds_max=SECONDS_MAX)
    with psycopg.connect(database_url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE log.huajuan_events SET state = 'not what it was' WHERE notification_id = 2"
        )
    reset_read_tables(database_url)
    async with projecting(database_url) as (_, projector):
        assert not await projector.wait_for_position(2, USERS, seconds_max=SECONDS_MAX)
        assert await projector.wait_for_position(2, HISTORY, seconds_max=SECONDS_MAX), (
            "it does not fold this topic"
        )
        assert projector.is_alive()
    assert checkpoint(database_url, USERS.schema)[:2] == (1, 2)


async def test_unknown_topics_are_passed_over(database_url: str) -> None:
    async with projecting(database_url) as (store, projector):
        position = await append_history(store, 1)
        with psycopg.connect(database_url) as connection:
            connection.execute(
                "SELECT log.append('{0}', ARRAY[gen_random_uuid()], '{1}', '{from.the.future}', "
                "ARRAY['{}'::bytea])"
            )
        assert await projector.wait_for_position(position + 1, *PROJECTIONS, seconds_max=SECONDS_MAX)
        position = await append_history(store, 1, "later")
        assert await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)


async def test_projections_go_on_after_their_connections_are_closed(database_url: str) -> None:
    async with projecting(database_url) as (store, projector):
        await append_history(store, 2, "before")
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as knife:
            await knife.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        position = await append_history(store, 2, "after")
        assert await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
        assert projector.is_alive()


async def test_a_projection_added_later_folds_from_the_first_event(database_url: str) -> None:
    async with projecting(database_url) as (store, projector):
        position = await append_history(store)
    added = failing_projection(lambda _: False)
    async with projecting(database_url, (*PROJECTIONS, added)) as (_, projector):
        assert await projector.wait_for_position(position, added, seconds_max=SECONDS_MAX)
    assert len(read_table(database_url, added)) == 5


async def test_a_projection_far_behind_does_not_delay_others(database_url: str) -> None:
    """They take turns: the others show each write at once, and the one behind catches up as well."""
    async with projecting(database_url) as (store, projector):
        position = await append_history(store, 30)
        await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
    added = failing_projection(lambda _: False)
    async with projecting(database_url, (*PROJECTIONS, added), turn_events_max=2) as (store, projector):
        ann = await register(store, "ann")
        behind = []
        for day in range(10):
            position = (await check_in(store, ann, day)).position
            assert await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
            behind.append(projector.positions[added.schema] < position)
        assert behind[0], "otherwise the test shows nothing"
        assert await projector.wait_for_position(position, added, seconds_max=SECONDS_MAX)
    assert len(read_table(database_url, added)) == 31
