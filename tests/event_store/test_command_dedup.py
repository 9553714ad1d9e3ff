"""A repeated command finds the change that its first execution made, also one of an older program."""

from collections.abc import Iterable
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from eventsourcing.persistence import StoredEvent

from huajuan.domain.account import Account
from huajuan.domain.aggregate import AggregateRoot
from huajuan.event_store.loader import Stream
from huajuan.event_store.request_context import (
    IdempotentCommand,
    find_change,
    set_command,
    set_correlation_id,
)
from huajuan.event_store.store import ChangeResult, EventStore
from tests.event_store.helpers import check_in, is_whole, log_rows, opened, register

COMMAND = UUID(int=7)
EXPLAIN = """
EXPLAIN (FORMAT JSON) SELECT e.originator_id, max(e.notification_id) FROM log.huajuan_events e
 WHERE e.originator_id = ANY(%s) AND e.notification_id > %s
   AND (convert_from(e.state, 'UTF8')::json ->> 'command_id' = %s OR position(%s::bytea IN e.state) > 0)
 GROUP BY e.originator_id
"""


def start(since: int, command_id: UUID = COMMAND) -> None:
    set_correlation_id(f"request-{uuid4()}")
    set_command(IdempotentCommand(command_id, since))


async def grant(store: EventStore, account_id: UUID, points: int = 5) -> ChangeResult:
    def decide(account: Account | None) -> Iterable[AggregateRoot]:
        assert account
        account.grant(points, "welcome")
        return [account]

    return await store.change(decide, Stream(Account, account_id))


def stored(dsn: str) -> list[dict[str, object]]:
    return [msgspec.json.decode(state) for (state,) in log_rows(dsn, "state")]


async def test_a_repetition_finds_each_change_and_appends_nothing(database_url: str) -> None:
    async with opened(database_url) as store:
        ann = await register(store, "ann")
        for execution in range(3):
            start(since=1)
            first, second = await grant(store, ann, 5), await grant(store, ann, 7)
            assert (first.position, second.position) == (2, 3), execution
            assert second.aggregates[0].balance == 12
    assert [event.get("command_id") for event in stored(database_url)] == [
        None,
        f"{COMMAND.hex}.0",
        f"{COMMAND.hex}.1",
    ]
    assert all("#" not in str(event["correlation_id"]) for event in stored(database_url))
    assert is_whole(database_url)


async def test_an_interrupted_execution_is_completed(database_url: str) -> None:
    async with opened(database_url) as store:
        ann = await register(store, "ann")
        start(since=1)
        await grant(store, ann, 5)
    async with opened(database_url) as store:
        start(since=1)
        assert (await store.previous_result(Stream(Account, ann))) is not None
        assert (await store.previous_result(Stream(Account, ann))) is None
        assert (await grant(store, ann, 7)).position == 3


async def test_events_without_a_command_have_no_command_id(database_url: str) -> None:
    async with opened(database_url) as store:
        await check_in(store, await register(store, "ann"))
    assert all("command_id" not in event for event in stored(database_url))


async def test_another_command_and_another_stream_are_not_found(database_url: str) -> None:
    async with opened(database_url) as store:
        ann, ben = await register(store, "ann"), await register(store, "ben")
        start(since=2)
        await grant(store, ann)
        start(since=2, command_id=UUID(int=8))
        assert (await grant(store, ann)).position == 4
        start(since=2)
        assert (await grant(store, ben)).position == 5


async def test_events_before_the_first_execution_are_not_searched(database_url: str) -> None:
    async with opened(database_url) as store:
        ann = await register(store, "ann")
        start(since=1)
        await grant(store, ann)
        start(since=2)
        assert (await grant(store, ann)).position == 3


async def test_a_change_of_an_older_program_is_found(database_url: str) -> None:
    """Older programs stored the id at the end of the correlation id."""
    async with opened(database_url) as store:
        ann = await register(store, "ann")
        other = await register(store, "other")
        start(since=2, command_id=uuid4())
        await grant(store, other)
        set_correlation_id(f"request-1#{COMMAND.hex}.0")
        await grant(store, ann, 5)
    async with opened(database_url) as store:
        start(since=2)
        found = await grant(store, ann, 5)
        assert (found.position, found.aggregates[0].balance) == (4, 5)
        assert (await grant(store, ann, 7)).position == 5
    assert "command_id" not in stored(database_url)[3]
    assert stored(database_url)[4]["command_id"] == f"{COMMAND.hex}.1"
    assert is_whole(database_url)


@pytest.mark.parametrize(
    "text", [f'#{COMMAND.hex}.0"', f'","command_id":"{COMMAND.hex}.0"', f"#{COMMAND.hex}.0"]
)
async def test_a_text_cannot_imitate_a_command(database_url: str, text: str) -> None:
    async with opened(database_url) as store:
        ann = await register(store, "ann")
        event = StoredEvent(
            ann, 2, "account.points_granted", msgspec.json.encode({"reason": f"{text} ", "note": text + "!"})
        )
        with psycopg.connect(database_url, autocommit=True) as connection:
            values = ([0], [ann], [2], [event.topic], [event.state])
            connection.execute(
                "SELECT log.append(%s::int[], %s::uuid[], %s::bigint[], %s::text[], %s::bytea[])", values
            )
        start(since=1)
        assert await find_change(store._statements, IdempotentCommand(COMMAND, 1), [ann]) == {}


async def test_the_search_uses_an_index(database_url: str) -> None:
    async with opened(database_url) as store:
        people = [await register(store, f"user{n}") for n in range(40)]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET enable_seqscan = off")
        values = (people[:1], 30, f"{COMMAND.hex}.0", b"#")
        ((plan,),) = connection.execute(EXPLAIN, values).fetchall()
    scan = plan[0]["Plan"]
    while "Plans" in scan:
        scan = scan["Plans"][0]
    assert "Index Cond" in scan, plan
