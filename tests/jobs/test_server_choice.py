"""The choice of a server: none that rejected, failed or is incompatible while a better one answers."""

from uuid import UUID, uuid4

import pytest

from huajuan.jobs.queue import SERVERS_OF_JOB_MAX, JobQueue
from tests.event_store.helpers import opened
from tests.jobs.test_queue import LATER, queue_of, wait

H, G = "http://h", "http://g"
NONE: tuple[str, ...] = ()


async def requeue(queue: JobQueue, image: UUID, host: str, **how: str) -> None:
    claimed = await queue.claim(host, 1000)
    assert claimed
    assert claimed.image_id == image
    await queue.requeue(image, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("excluded", "failed", "others", "may"),
    [
        (NONE, NONE, [G], True),
        ([H], NONE, [G], False),
        (NONE, [H], [G], False),
        ([H], NONE, [], True),
        (NONE, [H], [], True),
        ([H, G], NONE, [G], True),
        ([H], [G], [G], False),
        ([G], [H], [G], True),
        (NONE, [G, H], [G], True),
        ([G], NONE, [G], True),
    ],
)
async def test_a_server_that_refused_or_failed_waits_for_a_better_one(
    database_url: str, excluded: list[str], failed: list[str], others: list[str], may: bool
) -> None:
    async with opened(database_url) as store:
        queue = queue_of(store)
        (image,) = await wait(queue, uuid4())
        for server in excluded:
            await requeue(queue, image, "x", excluded=server)
        for server in failed:
            await requeue(queue, image, "x", failed=server)
        found = await queue.claim(H, 1000, others=others)
        assert bool(found) is may
        if found:
            assert (list(found.excluded), list(found.failed)) == ([*excluded], [*failed])
            assert (found.failed_seconds is None) == (not failed)


@pytest.mark.parametrize(
    ("digest", "lacking", "others", "may"),
    [
        ("checked", [H], [G], False),
        ("another", [H], [G], True),
        (None, [H], [G], True),
        ("checked", [H, G], [G], True),
        ("checked", [H], [], True),
        ("checked", [G], [G], True),
    ],
)
async def test_a_server_that_lacks_something_gets_jobs_of_other_workflows(
    database_url: str, digest: str | None, lacking: list[str], others: list[str], may: bool
) -> None:
    async with opened(database_url) as store:
        queue = queue_of(store)
        await queue.open(image := uuid4(), uuid4(), LATER)
        await queue.ready(image, digest)
        found = await queue.claim(H, 1000, others=others, lacking=lacking, checked="checked")
        assert bool(found) is may


async def test_the_next_job_is_taken_instead(database_url: str) -> None:
    async with opened(database_url) as store:
        queue = queue_of(store)
        first, second = await wait(queue, uuid4(), 2)
        await requeue(queue, first, H, failed=H)
        found = await queue.claim(H, 1000, others=[G])
        assert found
        assert found.image_id == second


async def test_the_lists_of_servers_of_a_job_are_bounded(database_url: str) -> None:
    async with opened(database_url) as store:
        queue = queue_of(store)
        (image,) = await wait(queue, uuid4())
        for number in range(SERVERS_OF_JOB_MAX + 5):
            await requeue(queue, image, "x", failed=f"f{number}", excluded=f"e{number}")
        found = await queue.claim("x", 1000)
        assert found
        assert len(list(found.failed)) == len(list(found.excluded)) == SERVERS_OF_JOB_MAX


async def test_queue_metrics(database_url: str) -> None:
    async with opened(database_url) as store:
        queue = queue_of(store)
        assert await queue.read_metrics() == (0, 0, {})
        await wait(queue, uuid4(), 3)
        await queue.claim(H, 1000)
        waiting, oldest, running = await queue.read_metrics()
        assert (waiting, running) == (2, {H: 1})
        assert oldest > 0
