"""Failovers under load: synchronous replication loses no acknowledged event, else no stream breaks."""

import asyncio
from collections import Counter, defaultdict
from pathlib import Path
from uuid import UUID

import httpx
import psycopg
import pytest

from huajuan.audit.connection import begin_snapshot, open_read_only
from huajuan.audit.replay import replay_all
from huajuan.audit.stream_gaps import find_first_gap
from huajuan.domain.account import Account
from huajuan.domain.refusals import AlreadyCheckedIn
from huajuan.event_store.errors import DatabaseFailure
from huajuan.event_store.store import EventStore, open_event_store
from huajuan.event_store.writer import EventStoreLimits
from huajuan.postgres.connect import open_pool
from huajuan.postgres.timelines import Timelines
from tests.event_store.helpers import check_in, is_whole, log_rows, now, opened, register
from tests.event_store.replication import Pair, on, replicated
from tests.services import client_of, until

WRITERS = 16
# Enough for several snapshots of each account, some of them still queued when the primary dies.
LIMITS = EventStoreLimits(snapshot_every_events=5, reconnect_seconds_max=60, conflict_seconds_max=60)
# Short, because at the end only the old primary answers.
QUICK_LIMITS = EventStoreLimits(snapshot_every_events=3, reconnect_seconds_max=2)


class Load:
    """Concurrent writers that check in day after day, each for its own account."""

    def __init__(self, store: EventStore, accounts: list[UUID]) -> None:
        self.acknowledged: dict[UUID, list[int]] = defaultdict(list)
        self._store = store
        self._stopped = False
        self._writers = [asyncio.create_task(self._write(account)) for account in accounts]

    @property
    def count(self) -> int:
        return sum(map(len, self.acknowledged.values()))

    async def more(self, writes: int) -> None:
        goal = self.count + writes
        await until(lambda: self.count >= goal or any(writer.done() for writer in self._writers))
        assert self.count >= goal

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.gather(*self._writers)

    async def _write(self, account: UUID) -> None:
        day = 0
        while not self._stopped:
            day += 1
            try:
                await check_in(self._store, account, day)
            except DatabaseFailure:
                await asyncio.sleep(0.01)
            else:
                self.acknowledged[account].append(day)


def stored_days(dsn: str) -> dict[UUID, list[str]]:
    days = defaultdict(list)
    columns = "originator_id, topic, convert_from(state, 'UTF8')::json->>'day'"
    for account, topic, day in log_rows(dsn, columns):
        if topic == "account.checked_in":
            days[account].append(day)
    return days


def assert_whole(dsn: str) -> None:
    versions: dict[UUID, list[int]] = defaultdict(list)
    for _, stream, version in log_rows(dsn):
        versions[stream].append(version)
    assert all(found == list(range(1, len(found) + 1)) for found in versions.values())
    assert is_whole(dsn)
    with open_read_only(dsn) as connection:
        assert find_first_gap(connection) is None


class Blind(Timelines):
    """Checks nothing, as with a role without the privilege."""

    async def check(self, connection: psycopg.AsyncConnection) -> None:
        pass


async def after_failover(pair: Pair, timelines: Timelines, *, synchronous: bool) -> Load:
    async with (
        open_pool(pair.dsn, 4, timelines=timelines) as pool,
        open_event_store(pair.dsn, pool, now, LIMITS, timelines) as store,
    ):
        accounts = [await register(store, f"writer{n}") for n in range(WRITERS)]
        if synchronous:
            await asyncio.to_thread(pair.wait_for_each_commit)
        load = Load(store, accounts)
        await load.more(8 * WRITERS)
        if not synchronous:
            await asyncio.to_thread(pair.cut_off)
            await load.more(8 * WRITERS)
        await asyncio.to_thread(pair.fail_over)
        await load.more(8 * WRITERS)
        await load.stop()
        async with opened(pair.standby.dsn()) as fresh:
            for account in accounts:
                assert await store.find(Account, account) == await fresh.find(Account, account)
                await check_in(store, account, 10_000)
                with pytest.raises(AlreadyCheckedIn):
                    await check_in(fresh, account, 10_000)
    return load


async def test_with_synchronous_replication_no_acknowledged_write_is_lost(tmp_path: Path) -> None:
    with replicated() as pair:
        timelines = Timelines(tmp_path / "timelines")
        load = await after_failover(pair, timelines, synchronous=True)
        assert timelines.generation == 1
        dsn = pair.standby.dsn()
        assert_whole(dsn)
        assert all(max(Counter(days).values()) == 1 for days in stored_days(dsn).values())
        lost = {
            account: len(days) + 1 - len(stored_days(dsn)[account])
            for account, days in load.acknowledged.items()
        }
        assert max(lost.values()) <= 0


@pytest.mark.parametrize("timelines", [Timelines(), Blind()], ids=["timeline known", "timeline unknown"])
async def test_with_a_late_standby_no_stream_breaks(timelines: Timelines) -> None:
    with replicated() as pair:
        load = await after_failover(pair, timelines, synchronous=False)
        dsn = pair.standby.dsn()
        assert_whole(dsn)
        assert all(max(Counter(days).values()) == 1 for days in stored_days(dsn).values())
        assert sum(map(len, stored_days(dsn).values())) < load.count, (
            "nothing was lost: the test shows nothing"
        )


async def people(client: httpx.AsyncClient) -> list[dict[str, str]]:
    headers = []
    for n in range(8):
        form = {"username": f"p{n}", "email": f"p{n}@example.org", "password": "secret"}
        assert (await client.post("/register", json=form)).status_code == 200
        token = (await client.post("/login", json=form)).json()["token"]
        headers.append({"Authorization": f"Bearer {token}"})
    return headers


async def many_check_ins(client: httpx.AsyncClient, headers: list[dict[str, str]], times: int) -> None:
    async def some(own: dict[str, str]) -> None:
        for _ in range(times):
            assert (await client.get("/auth/score", headers=own)).status_code == 200

    await asyncio.gather(*map(some, headers))


async def live_again(client: httpx.AsyncClient, own: dict[str, str]) -> bool:
    reply = await client.get("/auth/score", headers=own)
    assert reply.status_code in (200, 500, 503)
    return reply.status_code == 200


async def test_the_service_continues_on_the_new_primary_and_refuses_the_old_one(tmp_path: Path) -> None:
    with replicated() as pair:
        settings = {"check_in_limit": "none", "log": QUICK_LIMITS, "data_dir": str(tmp_path)}
        async with client_of(pair.dsn, **settings) as client:
            headers = await people(client)
            await many_check_ins(client, headers, 4)
            await asyncio.to_thread(pair.cut_off)
            await many_check_ins(client, headers, 5)
            await asyncio.to_thread(pair.fail_over)
            for own in headers:
                await until(lambda own=own: live_again(client, own))  # type: ignore[misc]
            await many_check_ins(client, headers, 4)
            await until(lambda: is_ready(client))
            dsn = pair.standby.dsn()
            with open_read_only(dsn) as connection:
                begin_snapshot(connection)
                found = replay_all(connection)
            assert (found.accounts, found.disagreement) == (8, None)
            assert_whole(dsn)
            await asyncio.to_thread(bring_back_unfenced, pair)
            await until(lambda: has_problem(client, "stale_primary"))
            assert (await client.get("/readyz")).status_code == 503


def bring_back_unfenced(pair: Pair) -> None:
    """Starts the old primary again, first in the DSN, and closes connections to the new one."""
    pair.primary.start()
    assert on(pair.primary, "SELECT pg_is_in_recovery()") == [(False,)]
    backends = "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    on(pair.standby, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity {backends}")


async def is_ready(client: httpx.AsyncClient) -> bool:
    reply = (await client.get("/readyz")).json()
    return reply["code"] == 200 and all(one["lag_events"] == 0 for one in reply["projections"].values())


async def has_problem(client: httpx.AsyncClient, name: str) -> bool:
    return name in [problem["name"] for problem in (await client.get("/readyz")).json()["problems"]]
