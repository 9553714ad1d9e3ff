"""A stopped projection goes on after an admin has skipped the failing event, and only then."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from structlog.testing import capture_logs

from huajuan.commands.operations import skip_event
from huajuan.domain.aggregate import AggregateRoot
from huajuan.domain.image import Image, ImageParameters
from huajuan.domain.like_and_favorite import Like
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import EventStore
from huajuan.postgres.connect import connect
from huajuan.projections.engine.checkpoints import (
    NotStoppedAtPosition,
    held_at_stop,
    load_skips,
)
from huajuan.projections.engine.projection import Projection
from huajuan.projections.history import HISTORY
from huajuan.projections.users import USERS
from tests.event_store.helpers import now, opened, register
from tests.projections.gallery import SECONDS_MAX, failing_projection, projecting, read_table
from tests.projections.rebuild.test_rebuild import run_rebuild
from tests.services import until

QUICK = {"poll_seconds": 0.05}
WHY = "it is broken"


def on_ben(event: Any) -> bool:
    return bool(event.username == "ben")


async def skip(dsn: str, position: int, projection: str = "failing_v1") -> None:
    async with opened(dsn) as store:
        await skip_event(store, projection, position, "account.registered", WHY)


def names(dsn: str, projection: Projection) -> list[str]:
    return sorted(row[2] for row in read_table(dsn, projection))


async def test_a_projection_goes_on_once_the_failing_event_is_skipped(database_url: str) -> None:
    bad = failing_projection(on_ben)
    async with (
        projecting(database_url, (bad,), **QUICK) as (store, one),
        projecting(database_url, (bad,), **QUICK) as (_, other),
    ):
        for name in ("ann", "ben", "cid"):
            await register(store, name)
        for projector in (one, other):
            await until(lambda p=projector: p.positions.is_stopped("failing_v1"))  # type: ignore[misc]
        await skip(database_url, 2)
        for projector in (one, other):
            await until(lambda p=projector: p.positions["failing_v1"] >= 3)  # type: ignore[misc]
            assert await projector.wait_for_position(3, bad, seconds_max=SECONDS_MAX)
        await register(store, "dan")
        assert await one.wait_for_position(6, bad, seconds_max=SECONDS_MAX)
    assert names(database_url, bad) == ["ann", "cid", "dan"]


async def test_other_skips_do_not_make_it_go_on(database_url: str) -> None:
    bad = failing_projection(on_ben)
    async with projecting(database_url, (bad,), **QUICK) as (store, projector):
        for name in ("ann", "ben", "cid"):
            await register(store, name)
        await until(lambda: projector.positions.is_stopped("failing_v1"))
        await skip(database_url, 3)
        await skip(database_url, 2, USERS.schema)
        for _ in range(300):  # at each moment, also while the poll looks for skips
            await asyncio.sleep(0.001)
            assert projector.positions.is_stopped("failing_v1")
    assert names(database_url, bad) == ["ann"]


async def test_each_failing_event_is_skipped_by_itself(database_url: str) -> None:
    bad = failing_projection(lambda event: event.username in ("ben", "dan"))
    async with projecting(database_url, (bad,), **QUICK) as (store, projector):
        for name in ("ann", "ben", "cid", "dan"):
            await register(store, name)
        await until(lambda: projector.positions.is_stopped("failing_v1"))
        await skip(database_url, 2)
        await until(lambda: projector.positions["failing_v1"] == 3)
        await until(lambda: projector.positions.is_stopped("failing_v1"))
        await skip(database_url, 4)
        await until(lambda: projector.positions["failing_v1"] >= 4)
    assert names(database_url, bad) == ["ann", "cid"]


async def test_an_undecodable_event_can_be_skipped(database_url: str) -> None:
    async with opened(database_url) as store:
        for name in ("ann", "ben", "cid"):
            await register(store, name)
    with psycopg.connect(database_url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE log.huajuan_events SET state = 'not what it was' WHERE notification_id = 2"
        )
    async with projecting(database_url, (USERS,), **QUICK) as (_, projector):
        await until(lambda: projector.positions.is_stopped(USERS.schema))
        await skip(database_url, 2, USERS.schema)
        await until(lambda: projector.positions[USERS.schema] >= 3)
    assert names(database_url, USERS) == ["ann", "cid"]


async def test_a_skip_holds_in_a_process_that_could_fold_the_event(database_url: str) -> None:
    bad, corrected = failing_projection(on_ben), failing_projection(lambda _: False)
    async with projecting(database_url, (bad,), **QUICK) as (store, projector):
        for name in ("ann", "ben", "cid"):
            await register(store, name)
        await until(lambda: projector.positions.is_stopped("failing_v1"))
    await skip(database_url, 2)
    async with projecting(database_url, (corrected,), **QUICK) as (_, projector):
        assert await projector.wait_for_position(3, corrected, seconds_max=SECONDS_MAX)
    assert names(database_url, corrected) == ["ann", "cid"]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DELETE FROM failing_v1.failing")
        connection.execute("UPDATE operations.checkpoints SET position = 0, stopped_at = NULL")
    async with projecting(database_url, (corrected,), batch_events_max=1) as (_, projector):
        assert await projector.wait_for_position(3, corrected, seconds_max=SECONDS_MAX)
    assert names(database_url, corrected) == ["ann", "cid"]


async def test_a_newer_version_ignores_skips_of_an_older_one_and_logs_it(database_url: str) -> None:
    newer = failing_projection(lambda _: False, version=2)
    async with projecting(database_url, (failing_projection(on_ben),), **QUICK) as (store, projector):
        for name in ("ann", "ben"):
            await register(store, name)
        await until(lambda: projector.positions.is_stopped("failing_v1"))
    await skip(database_url, 2)
    with capture_logs() as log:
        async with projecting(database_url, (newer,), **QUICK) as (_, projector):
            assert await projector.wait_for_position(2, newer, seconds_max=SECONDS_MAX)
    assert names(database_url, newer) == ["ann", "ben"]
    (line,) = [line for line in log if "older version" in line["event"]]
    assert (line["projection"], line["positions"]) == ("failing_v2", [2])


async def test_later_events_of_a_skipped_row_are_ignored(database_url: str) -> None:
    """Live and in a rebuild. An error in another row still stops the table."""
    async with projecting(database_url, (HISTORY,), **QUICK) as (store, projector):
        ann, sun, rain = await register(store, "ann"), uuid4(), uuid4()
        await drawn_and_liked(store, ann, sun)
        position = await drawn_and_liked(store, ann, rain)
        assert await projector.wait_for_position(position, HISTORY, seconds_max=SECONDS_MAX)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"DELETE FROM {HISTORY.schema}.history")
        connection.execute("UPDATE operations.checkpoints SET position = 0")
        (requested,) = connection.execute(_REQUESTED, (sun,)).fetchone()  # type: ignore[misc]
    await skip(database_url, requested, HISTORY.schema)
    async with projecting(database_url, (HISTORY,), **QUICK) as (_, projector):
        assert await projector.wait_for_position(position, HISTORY, seconds_max=SECONDS_MAX)
        report = await run_rebuild(database_url, (HISTORY,))
    assert (report.compared, report.differences) == (["history"], [])
    with psycopg.connect(database_url) as connection:
        assert connection.execute(f"SELECT image_id, likecount FROM {HISTORY.schema}.history").fetchall() == [
            (rain, 1)
        ]


_REQUESTED = (
    "SELECT notification_id FROM log.huajuan_events WHERE originator_id = %s AND originator_version = 1"
)


async def drawn_and_liked(store: EventStore, person: UUID, image_id: UUID) -> int:
    def decide(*_: object) -> list[AggregateRoot]:
        image = Image.request(image_id, person, ImageParameters("sun", 220, 200, 30, "DDIM", "7"), 20, now())
        image.start()
        image.draw(f"{image_id.hex}.png", "ab" * 32)
        return [image, Like.begin(uuid4(), person, image_id)]

    return (await store.change(decide, Stream(Image, image_id))).position


async def test_skips_are_read_by_version(database_url: str) -> None:
    for position in (2, 9):
        await skip(database_url, position)
    await skip(database_url, 5, "failing_v2")
    async with await connect(database_url, SECONDS_MAX) as connection:
        found = await load_skips(connection, [f"failing_v{version}" for version in (1, 2, 3)])
    assert {schema: skips.positions for schema, skips in found.items()} == {
        "failing_v1": {2, 9},
        "failing_v2": {5},
        "failing_v3": frozenset(),
    }


async def test_no_process_folds_the_event_while_it_is_being_skipped(database_url: str) -> None:
    """A process with a corrected fold would otherwise fold an event that is then recorded as skipped."""
    bad, corrected = failing_projection(on_ben), failing_projection(lambda _: False)
    async with projecting(database_url, (bad,), **QUICK) as (store, projector):
        for name in ("ann", "ben", "cid"):
            await register(store, name)
        await until(lambda: projector.positions.is_stopped("failing_v1"))
    async with held_at_stop(database_url, bad, 2, SECONDS_MAX) as topic:
        assert topic == "account.registered"
        async with projecting(database_url, (corrected,), **QUICK) as (_, projector):
            assert not await projector.wait_for_position(2, corrected, seconds_max=0.5)
            await skip(database_url, 2)
    async with projecting(database_url, (corrected,), **QUICK) as (_, projector):
        assert await projector.wait_for_position(3, corrected, seconds_max=SECONDS_MAX)
    assert names(database_url, corrected) == ["ann", "cid"]
    with pytest.raises(NotStoppedAtPosition):
        async with held_at_stop(database_url, bad, 2, SECONDS_MAX):
            pytest.fail("the projection goes on already")
