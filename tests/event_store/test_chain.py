"""The chain: whatever is done to the rows, the first bad position is named."""

import psycopg
import pytest

from huajuan.event_store.chain import verify_chain
from tests.event_store.studio import check_in, opened, register

DAMAGE = {
    "a flipped byte in the state": (
        "UPDATE log.huajuan_events SET state = set_byte(state, 20, get_byte(state, 20) # 1) "
        "WHERE notification_id = 4",
        4,
    ),
    "another topic": ("UPDATE log.huajuan_events SET topic = topic || 'x' WHERE notification_id = 5", 5),
    "another stream": (
        "UPDATE log.huajuan_events SET originator_id = gen_random_uuid() WHERE notification_id = 3",
        3,
    ),
    "a missing row": ("DELETE FROM log.huajuan_events WHERE notification_id = 6", 6),
    "a missing first row": ("DELETE FROM log.huajuan_events WHERE notification_id = 1", 1),
    "two swapped rows": (
        "UPDATE log.huajuan_events SET notification_id = -notification_id WHERE notification_id IN (4, 5);"
        "UPDATE log.huajuan_events SET notification_id = 9 + notification_id WHERE notification_id < 0",
        4,
    ),
    "an inserted row": (
        "INSERT INTO log.huajuan_events SELECT gen_random_uuid(), 1, topic, state, 9, chain "
        "FROM log.huajuan_events WHERE notification_id = 2",
        9,
    ),
}


async def eight_events(dsn: str) -> None:
    async with opened(dsn) as store:
        ann = await register(store, "ann")
        for day in range(7):
            await check_in(store, ann, day)


async def broken_at(dsn: str) -> int | None:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        verdict = await verify_chain(connection, page_events=3)
        return verdict.broken_at


async def test_an_untouched_log_verifies(database_url: str) -> None:
    await eight_events(database_url)
    assert await broken_at(database_url) is None


async def test_the_head_is_the_last_events_link(database_url: str) -> None:
    await eight_events(database_url)
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        verdict = await verify_chain(connection)
        cursor = await connection.execute("SELECT chain FROM log.huajuan_events WHERE notification_id = 8")
        assert (verdict.events, verdict.head) == (8, (await cursor.fetchall())[0][0])


async def test_the_sql_link_is_the_one_verified(database_url: str) -> None:
    await eight_events(database_url)
    query = (
        "SELECT count(*) FROM (SELECT chain, log.link(lag(chain, 1, '') OVER (ORDER BY notification_id), "
        "originator_id, originator_version, topic, state) AS due FROM log.huajuan_events) x WHERE chain = due"
    )
    with psycopg.connect(database_url) as connection:
        assert connection.execute(query.encode()).fetchall() == [(8,)]


@pytest.mark.parametrize("damage", DAMAGE)
async def test_damage_is_found_at_its_position(database_url: str, damage: str) -> None:
    await eight_events(database_url)
    statement, position = DAMAGE[damage]
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "SET session_replication_role = replica"
        )  # what the append-only trigger cannot stop
        connection.execute(statement.encode())
    assert await broken_at(database_url) == position


@pytest.mark.parametrize("change", ["UPDATE log.huajuan_events SET topic = ''", "DELETE FROM log.huajuan_events",
                                    "TRUNCATE log.huajuan_events"])  # fmt: skip
async def test_the_database_itself_refuses_to_change_the_log(database_url: str, change: str) -> None:
    await eight_events(database_url)
    with psycopg.connect(database_url) as connection, pytest.raises(psycopg.errors.RaiseException):
        connection.execute(change.encode())
