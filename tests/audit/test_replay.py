"""Replays of one and of all accounts, compared with the table of balances."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any
from uuid import UUID

import psycopg
import pytest
import pytest_asyncio

from huajuan.audit.connection import AuditError, begin_snapshot, open_read_only
from huajuan.audit.past import position_at
from huajuan.audit.replay import (
    LedgerEntry,
    Replay,
    ReplayAllOutcome,
    ReplayOutcome,
    count_points_events,
    find_account,
    replay_all,
)
from huajuan.event_store.event_clock import EventClock
from huajuan.projections.engine.runner import Projector
from huajuan.projections.point_balances import POINT_BALANCES
from tests.event_store.helpers import check_in, is_whole, log_rows, register
from tests.projections.gallery import append_history, draw_image, projecting

TABLE = f"{POINT_BALANCES.schema}.point_balances"
PEOPLE = 5


@pytest_asyncio.fixture
async def lived(database_url: str) -> str:
    """The DSN of a log with events of five accounts, all folded into the tables."""
    async with projecting(database_url) as (store, projector):
        await folded(projector, await append_history(store, PEOPLE))
    return database_url


async def folded(projector: Projector, position: int) -> None:
    assert await projector.wait_for_position(position, POINT_BALANCES, seconds_max=20)


def replayed(dsn: str, name: str, last: int | None = None) -> tuple[list[LedgerEntry], ReplayOutcome]:
    with open_read_only(dsn) as connection:
        begin_snapshot(connection)
        replay = Replay(connection, find_account(connection, name), last)
        return list(replay.entries()), replay.outcome()


def audited(dsn: str) -> ReplayAllOutcome:
    with open_read_only(dsn) as connection:
        begin_snapshot(connection)
        return replay_all(connection)


def spoil(dsn: str, statement: str, *values: Any) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(statement.encode(), values)


def test_the_changes_add_up_to_the_balance(lived: str) -> None:
    entries, outcome = replayed(lived, "person1")
    assert [(e.what, e.change, e.balance, e.held) for e in entries] == [
        ("registered", 0, 0, 0),
        ("checked_in", 100, 100, 0),
        ("points_held", -20, 80, 20),
        ("points_settled", 0, 80, 0),
        ("points_held", -20, 60, 20),
        ("points_returned", 20, 80, 0),
        ("points_held", -20, 60, 20),
        ("points_settled", 0, 60, 0),
    ]
    assert sum(e.change for e in entries) == outcome.pots["available"] == 60
    assert entries[5].reason == "lost"
    assert len({e.image_id for e in entries[2:]}) == 3
    assert (outcome.agrees, outcome.unconserved) == (True, 0)
    assert outcome.says.startswith("table agrees")
    assert outcome.pots == {
        "granted": 100, "available": 60, "held": 0, "spent": 40, "deducted": 0, "forfeited": 0,
    }  # fmt: skip


def test_an_account_is_found_by_its_id(lived: str) -> None:
    by_name = replayed(lived, "person1")
    assert replayed(lived, str(by_name[1].account_id)) == by_name
    for nobody in ("person99", str(UUID(int=1)), ""):
        with pytest.raises(AuditError, match="there is no account"):
            replayed(lived, nobody)


def test_a_past_position_has_no_table_to_compare(lived: str) -> None:
    entries, _ = replayed(lived, "person1")
    past, outcome = replayed(lived, "person1", entries[2].position)
    assert past == entries[:3]
    assert (outcome.agrees, outcome.pots["held"]) == (None, 20)
    assert outcome.says.startswith("no table to compare with")
    assert outcome.is_sound


def test_all_accounts_agree(lived: str) -> None:
    found = audited(lived)
    assert (found.accounts, found.disagreement) == (PEOPLE, None)
    with open_read_only(lived) as connection:
        assert count_points_events(connection) == 8 * PEOPLE


@pytest.mark.parametrize("column", ["granted", "available", "held", "spent", "deducted", "forfeited"])
def test_a_wrong_value_in_the_table_is_found(lived: str, column: str) -> None:
    account = replayed(lived, "person3")[1].account_id
    spoil(lived, f"UPDATE {TABLE} SET {column} = {column} + 7 WHERE account_id = %s", account)
    entries, outcome = replayed(lived, "person3")
    assert outcome.agrees is False
    assert f"{column} is" in outcome.says
    wrong = audited(lived).disagreement
    assert wrong
    assert (wrong.account_id, wrong.position) == (account, entries[-1].position)
    assert replayed(lived, "person2")[1].agrees


def test_a_missing_or_additional_row_is_found(lived: str) -> None:
    account = replayed(lived, "person3")[1].account_id
    spoil(lived, f"DELETE FROM {TABLE} WHERE account_id = %s", account)
    assert replayed(lived, "person3")[1].says.startswith(
        "table disagrees: the table does not have the account"
    )
    wrong = audited(lived).disagreement
    assert wrong
    assert wrong.account_id == account
    stranger = UUID(int=0)
    columns = "account_id, granted, available, held, spent, deducted, forfeited"
    spoil(lived, f"INSERT INTO {TABLE} ({columns}) VALUES (%s, 1, 1, 0, 0, 0, 0)", stranger)
    wrong = audited(lived).disagreement
    assert wrong
    assert (wrong.account_id, wrong.says) == (stranger, "the log does not have the account")


@pytest.mark.parametrize(
    ("before", "after", "what", "says"),
    [
        ('"points":100', '"points":900', "checked_in", "the event says that the balance is 100"),
        ('"points":20', '"points":21', "points_settled", "more was settled or returned than was held: 1"),
        ('"balance":80', '"balance":90', "points_returned", "its predecessors make it 80"),
    ],
)
def test_a_contradiction_in_the_log_is_found_at_its_position(
    lived: str, before: str, after: str, what: str, says: str
) -> None:
    entries, outcome = replayed(lived, "person0")
    position = next(e.position for e in entries if e.what == what)
    spoil(
        lived,
        "UPDATE log.huajuan_events SET state = "
        "convert_to(replace(convert_from(state, 'UTF8'), %s, %s), 'UTF8') WHERE notification_id = %s",
        before, after, position,
    )  # fmt: skip
    wrong = audited(lived).disagreement
    assert wrong
    assert (wrong.account_id, wrong.position) == (outcome.account_id, position)
    told = replayed(lived, "person0")[1].says
    assert f"at position {position} " in told
    assert says in wrong.says
    assert says in told


def test_an_unreadable_event_is_reported(lived: str) -> None:
    position = replayed(lived, "person0")[0][1].position
    spoil(lived, "UPDATE log.huajuan_events SET state = 'x' WHERE notification_id = %s", position)
    for look in (lambda: replayed(lived, "person0"), lambda: audited(lived)):
        with pytest.raises(AuditError, match=f"position {position} cannot be read"):
            look()


@contextmanager
def writing(dsn: str) -> Iterator[None]:
    """Appends events in a thread during the block."""

    async def live(ended: asyncio.Event) -> None:
        async with projecting(dsn) as (store, _):
            accounts = [store.stream_ids.account(f"person{n}") for n in range(PEOPLE)]
            day = 1
            while not ended.is_set():
                await asyncio.gather(*(check_in(store, a, day) for a in accounts))
                await asyncio.gather(*(draw_image(store, a) for a in accounts))
                day += 1

    with asyncio.Runner() as runner:
        ended = asyncio.Event()
        loop = runner.get_loop()
        thread = Thread(target=runner.run, args=(live(ended),))
        thread.start()
        try:
            yield
        finally:
            loop.call_soon_threadsafe(ended.set)
            thread.join()


def test_replays_agree_while_events_are_appended(lived: str) -> None:
    before = audited(lived).position
    with writing(lived):
        moved = before
        while moved < before + 200:
            found = audited(lived)
            assert found.disagreement is None
            assert is_whole(lived)
            assert all(replayed(lived, f"person{n}")[1].agrees for n in range(PEOPLE))
            moved = found.position
    assert audited(lived).accounts == PEOPLE


async def told_at(dsn: str, minutes: list[int]) -> list[datetime]:
    """Writes one event at each of these minutes, in this order, and returns the times."""
    times = [datetime(2026, 11, 24, tzinfo=UTC) + timedelta(minutes=m) for m in minutes]
    async with projecting(dsn) as (store, _):
        # As if each event were appended by a server with another clock.
        store.event_clock = EventClock(0, lambda: store.clock())
        store.clock = lambda: times[0]
        ann = await register(store, "ann")
        for day, moment in enumerate(times[1:]):
            store.clock = lambda moment=moment: moment  # type: ignore[misc]
            await check_in(store, ann, day)
    assert [row[0] for row in log_rows(dsn)] == list(range(1, len(times) + 1))
    return times


async def test_the_position_of_a_time_is_the_last_event_not_after_it(database_url: str) -> None:
    times = await told_at(database_url, [0, 60, 120, 122, 121, 180])
    tick = timedelta(microseconds=1)
    due = {
        times[0] - tick: 0, times[0]: 1, times[1] - tick: 1, times[1]: 2, times[2]: 3, times[4]: 5,
        times[4] - tick: 3, times[3]: 5, times[5] - tick: 5, times[5]: 6, times[5] + timedelta(days=9): 6,
    }  # fmt: skip
    with open_read_only(database_url) as connection:
        assert {moment: position_at(connection, moment) for moment in due} == due


async def test_the_position_of_a_time_allows_for_clock_skew(database_url: str) -> None:
    times = await told_at(database_url, [0, 4, 3])
    with open_read_only(database_url) as connection:
        assert [position_at(connection, moment) for moment in times] == [1, 3, 3]


def test_the_position_of_a_time_in_an_empty_log_is_0(database_url: str) -> None:
    with open_read_only(database_url) as connection:
        assert position_at(connection, datetime(2026, 1, 1, tzinfo=UTC)) == 0
