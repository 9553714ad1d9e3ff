"""Ending: a task that missed its cancellation is cancelled again."""

import asyncio

from huajuan.runtime.cancel_tasks import end


async def test_a_task_that_swallows_cancellations_ends_all_the_same() -> None:
    swallowed = 0

    async def deaf() -> None:
        nonlocal swallowed
        while swallowed < 3:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                swallowed += 1
        await asyncio.sleep(3600)

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    await end([task])
    assert (swallowed, task.cancelled()) == (3, True)


async def test_what_has_ended_or_failed_is_no_matter() -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    tasks = [asyncio.create_task(fails()), asyncio.create_task(asyncio.sleep(0))]
    await asyncio.sleep(0.01)
    await end(tasks)
    await end([])
    assert all(task.done() for task in tasks)
