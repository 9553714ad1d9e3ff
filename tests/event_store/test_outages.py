"""Outages of Postgres under load: no acknowledged event is lost or stored twice, and the store recovers."""

import asyncio
import os
import signal
from collections import Counter
from uuid import UUID, uuid4

import psycopg
import pytest

from huajuan.domain.account import Account
from huajuan.event_store.errors import DatabaseFailure, DatabaseUnavailable
from huajuan.event_store.schema import create_schema
from huajuan.event_store.store import EventStore
from huajuan.event_store.writer import EventStoreLimits, Save, Writer
from tests.database import Started
from tests.event_store.helpers import check_in, is_whole, log_rows, opened, register
from tests.event_store.process import append_claims
from tests.event_store.test_append import row

CLIENTS = 16
KILL_WRITERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND query LIKE '%log.append%' AND pid <> pg_backend_pid()"
)


class Load:
    """Clients that append until `stop` and record the acknowledged and the failed appends."""

    def __init__(self, store: EventStore) -> None:
        self.store = store
        self.acknowledged: dict[UUID, int] = {}
        self.failed: list[DatabaseFailure] = []
        self._stopped = False
        self._clients = [asyncio.create_task(self._client()) for _ in range(CLIENTS)]

    async def _client(self) -> None:
        while not self._stopped:
            stream = uuid4()
            try:
                self.acknowledged[stream] = await append_claims(self.store, stream, 2)
            except DatabaseFailure as error:
                self.failed.append(error)
                await asyncio.sleep(0.01)

    async def until(self, acknowledged: int) -> None:
        async with asyncio.timeout(60):
            while len(self.acknowledged) < acknowledged:
                await asyncio.sleep(0.005)

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.gather(*self._clients)


async def assert_whole(dsn: str, load: Load) -> None:
    rows = log_rows(dsn)
    assert [r[0] for r in rows] == list(range(1, len(rows) + 1))
    stored = Counter(r[1] for r in rows)
    assert set(stored.values()) == {2}
    at = {(r[1], r[2]): r[0] for r in rows}
    for stream, position in load.acknowledged.items():
        assert at[stream, 2] == position
    assert is_whole(dsn)


async def test_terminated_connections_lose_nothing_and_store_nothing_twice(database_url: str) -> None:
    async with opened(database_url) as store:
        load = Load(store)
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as knife:
            for cut in range(1, 9):
                await load.until(cut * 100)
                await knife.execute(KILL_WRITERS.encode())
        await load.until(len(load.acknowledged) + 200)
        await load.stop()
    assert load.failed == []
    await assert_whole(database_url, load)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "fast stop"])
async def test_a_restart_of_postgres_loses_nothing(postgres_control: Started, how: signal.Signals) -> None:
    server = postgres_control()
    create_schema(server.dsn())
    async with opened(server.dsn()) as store:
        load = Load(store)
        await load.until(300)
        pid = server.running()
        assert pid
        os.kill(pid, how)
        await asyncio.to_thread(restart, server)
        await load.until(len(load.acknowledged) + 300)
        ann = await register(store, "ann")
        await check_in(store, ann)
        assert await store.find(Account, ann)
        await load.stop()
    assert load.failed == []
    rows_of_ann = [r for r in log_rows(server.dsn()) if r[1] == ann]
    assert len(rows_of_ann) == 2
    load.acknowledged[ann] = rows_of_ann[1][0]
    await assert_whole(server.dsn(), load)


def restart(server) -> None:  # type: ignore[no-untyped-def]
    while server.running():
        pass
    server.start()


class LosesTheAnswer(Writer):
    """Commits, then loses the connection before the response."""

    losses = 1

    async def _send(self, batch: list[Save]) -> tuple[int, set[int]]:
        answer = await super()._send(batch)
        if self.losses:
            self.losses -= 1
            raise psycopg.OperationalError("the answer was lost")
        return answer


async def test_an_unknown_outcome_is_checked(database_url: str) -> None:
    writer = LosesTheAnswer(database_url, EventStoreLimits(), lambda _: None)
    await writer.open()
    first, second = [row(), row()], [row()]
    positions = await asyncio.gather(*map(writer.append, (first, second)))
    assert positions == [[1, 2], [3]]
    assert len(log_rows(database_url)) == 3
    await writer.close()


async def test_a_conflict_with_a_lost_response_is_still_a_conflict(database_url: str) -> None:
    writer = LosesTheAnswer(database_url, EventStoreLimits(), lambda _: None)
    await writer.open()
    writer.losses = 0
    taken = uuid4()
    await writer.append([row(taken, state=b'{"a":1}')])
    writer.losses = 1
    results = await asyncio.gather(
        writer.append([row(taken, state=b'{"a":2}')]), writer.append([row()]), return_exceptions=True
    )
    assert [type(r).__name__ for r in results] == ["Conflict", "list"]
    assert len(log_rows(database_url)) == 2
    await writer.close()


async def test_a_long_outage_is_an_error_within_the_bound(postgres_control: Started) -> None:
    server = postgres_control()
    create_schema(server.dsn())
    async with opened(server.dsn(), reconnect_seconds_max=0.3) as store:
        ann = await register(store, "ann")
        server.stop()
        with pytest.raises(DatabaseUnavailable):
            await check_in(store, ann)
        with pytest.raises(DatabaseUnavailable):
            await store.find(Account, ann)
        server.start()
        assert (await check_in(store, ann)).position == 2
