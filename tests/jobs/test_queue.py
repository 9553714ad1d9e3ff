"""The job queue: fair order, leases and limits."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from huajuan.event_store.store import EventStore
from huajuan.jobs.queue import DispatchLimits, JobQueue, QueueFull
from huajuan.postgres.statements import Statements
from tests.event_store.helpers import opened

LATER = datetime.now(UTC) + timedelta(days=1)
PROCESSES, TURNS = 6, 40
MANY = DispatchLimits(jobs_per_account_max=1000, jobs_waiting_max=10_000)


def queue_of(store: EventStore, limits: DispatchLimits = MANY) -> JobQueue:
    return JobQueue(Statements(store._pool, 5), uuid4(), limits)


async def wait(queue: JobQueue, account: UUID, times: int = 1) -> list[UUID]:
    images = [uuid4() for _ in range(times)]
    for image in images:
        await queue.open(image, account, LATER)
        await queue.ready(image)
    return images


async def claimed(queue: JobQueue, host: str = "h", most: int = 1000) -> UUID:
    job = await queue.claim(host, most)
    assert job
    return job.image_id


async def test_jobs_of_one_account_start_in_request_order(database_url: str) -> None:
    async with opened(database_url) as store:
        queue = queue_of(store)
        images = await wait(queue, uuid4(), 5)
        assert [await claimed(queue) for _ in images] == images
        assert await queue.claim("h", 1000) is None


async def test_a_long_queue_of_one_account_delays_others_by_one_job(database_url: str) -> None:
    ann, ben = uuid4(), uuid4()
    async with opened(database_url) as store:
        queue = queue_of(store)
        anns = await wait(queue, ann, 20)
        assert await claimed(queue) == anns[0]
        bens = await wait(queue, ben, 2)
        assert [await claimed(queue) for _ in range(5)] == [anns[1], bens[0], anns[2], bens[1], anns[3]]


@pytest.mark.parametrize("seed", range(4))
async def test_between_two_starts_of_one_account_no_other_has_two(database_url: str, seed: int) -> None:
    """The bound, on arrivals and starts in any order: from when a job is at the head of its account's queue,
    each other account starts at most one job before it."""
    draw = random.Random(seed)
    accounts = [uuid4() for _ in range(6)]
    owner: dict[UUID, UUID] = {}
    waiting: dict[UUID, list[UUID]] = {account: [] for account in accounts}
    since_head: dict[UUID, Counter[UUID]] = {}
    async with opened(database_url) as store:
        one, other = queue_of(store), queue_of(store)
        for _ in range(150):
            if draw.random() < 0.5:
                account = accounts[int(len(accounts) * draw.random() ** 2)]
                (image,) = await wait(one, account)
                owner[image] = account
                waiting[account].append(image)
                since_head.setdefault(account, Counter())
            elif job := await draw.choice([one, other]).claim(draw.choice("gh"), 1000):
                account = owner[job.image_id]
                assert waiting[account].pop(0) == job.image_id
                assert max(since_head.pop(account).values(), default=0) <= 1
                for counts in since_head.values():
                    counts[account] += 1
                if waiting[account]:
                    since_head[account] = Counter()


async def test_a_server_runs_at_most_its_limit_of_jobs_of_all_processes(database_url: str) -> None:
    async with opened(database_url) as store:
        one, other = queue_of(store), queue_of(store)
        images = await wait(one, uuid4(), 4)
        assert [await claimed(one, "h", 2), await claimed(other, "h", 2)] == images[:2]
        assert (await one.claim("h", 2), await other.claim("h", 2)) == (None, None)
        assert await claimed(other, "g", 2) == images[2]
        await one.close(images[0])
        assert await claimed(other, "h", 2) == images[3]


async def test_processes_at_once_do_not_exceed_the_limits(database_url: str) -> None:
    """Of an account's open jobs, and of a server's running ones."""
    limits = DispatchLimits(jobs_per_account_max=2, jobs_waiting_max=10_000)
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened(database_url)) for _ in range(PROCESSES)]
        queues = [queue_of(store, limits) for store in stores]

        async def open_and_ready(queue: JobQueue, account: UUID) -> int:
            image = uuid4()
            try:
                await queue.open(image, account, LATER)
            except QueueFull:
                return 0
            await queue.ready(image)
            return 1

        for turn in range(TURNS):
            account, server = uuid4(), f"server {turn}"
            assert sum(await asyncio.gather(*(open_and_ready(queue, account) for queue in queues))) == 2
            claims = await asyncio.gather(*(queue.claim(server, 1) for queue in queues))
            assert sum(claim is not None for claim in claims) == 1


async def test_a_requeued_job_comes_first_but_avoids_the_failed_server(database_url: str) -> None:
    async with opened(database_url) as store:
        queue = queue_of(store)
        first, second = await wait(queue, uuid4(), 2)
        assert await claimed(queue, "h") == first
        await queue.requeue(first, avoid="h", avoid_seconds=60)
        assert await claimed(queue, "h") == second
        assert await claimed(queue, "g") == first


async def test_renewal_reports_lost_leases(database_url: str) -> None:
    short = DispatchLimits(lease_seconds=0)
    async with opened(database_url) as store:
        one, other = queue_of(store, short), queue_of(store)
        (image,) = await wait(one, uuid4())
        assert await claimed(one) == image
        assert await claimed(other) == image
        assert await one.renew({image: 0.5}) == set()
        assert await other.renew({image: 0.5}) == {image}


async def test_the_queue_is_bounded_per_account_and_in_all(database_url: str) -> None:
    ann, ben = uuid4(), uuid4()
    async with opened(database_url) as store:
        queue = queue_of(store, DispatchLimits(jobs_per_account_max=2, jobs_waiting_max=3))
        await wait(queue, ann, 2)
        with pytest.raises(QueueFull):
            await wait(queue, ann)
        await wait(queue, ben)
        with pytest.raises(QueueFull):
            await wait(queue, ben)


async def test_queue_positions_are_in_start_order(database_url: str) -> None:
    ann, ben = uuid4(), uuid4()
    async with opened(database_url) as store:
        queue = queue_of(store)
        anns, bens = await wait(queue, ann, 3), await wait(queue, ben, 2)
        expected = [anns[0], bens[0], anns[1], bens[1], anns[2]]
        places = [await queue.position(image) for image in expected]
        assert [place and place.ahead for place in places] == [0, 1, 2, 3, 4]
        assert await claimed(queue) == anns[0]
        await queue.renew({anns[0]: 0.25})
        assert await queue.position(anns[0]) == (0, True, 0.25, 1)
        await queue.close(anns[0])
        assert await queue.position(anns[0]) is None


async def test_obsolete_turns_are_deleted(database_url: str) -> None:
    async with opened(database_url) as store:
        queue = queue_of(store)
        (image,) = await wait(queue, uuid4())
        await claimed(queue)
        await queue.close(image)
        await wait(queue, uuid4())
        await queue.delete_expired()
        async with store._pool.connection() as connection:
            cursor = await connection.execute("SELECT count(*) FROM operations.queue_turns")
            assert await cursor.fetchall() == [(0,)]
