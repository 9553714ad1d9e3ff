"""The hash chain in SQL, and the append-only trigger."""

import psycopg
import pytest

from tests.event_store.helpers import check_in, opened, register


async def eight_events(dsn: str) -> None:
    async with opened(dsn) as store:
        ann = await register(store, "ann")
        for day in range(7):
            await check_in(store, ann, day)


async def test_the_link_in_sql_equals_the_verified_one(database_url: str) -> None:
    await eight_events(database_url)
    query = (
        "SELECT count(*) FROM (SELECT chain, log.link(lag(chain, 1, '') OVER (ORDER BY notification_id), "
        "originator_id, originator_version, topic, state) AS due FROM log.huajuan_events) x WHERE chain = due"
    )
    with psycopg.connect(database_url) as connection:
        assert connection.execute(query.encode()).fetchall() == [(8,)]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE log.huajuan_events SET topic = ''",
        "DELETE FROM log.huajuan_events",
        "TRUNCATE log.huajuan_events",
    ],
)
async def test_the_database_refuses_changes_of_the_log(database_url: str, change: str) -> None:
    await eight_events(database_url)
    with psycopg.connect(database_url) as connection, pytest.raises(psycopg.errors.RaiseException):
        connection.execute(change.encode())
