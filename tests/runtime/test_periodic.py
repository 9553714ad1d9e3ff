"""Background tasks: periodic work, and the cancellation of tasks."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import structlog

from huajuan.runtime.periodic import cancel_tasks, periodic, running


def counting(calls: list[float], fails: int = 0) -> Callable[[], Awaitable[None]]:
    """Work that records the times of its calls. The first `fails` calls raise."""

    async def work() -> None:
        calls.append(asyncio.get_running_loop().time())
        if len(calls) <= fails:
            raise ZeroDivisionError

    return work


async def test_work_is_repeated_with_a_pause_between() -> None:
    calls: list[float] = []
    async with running(periodic("count", counting(calls), 0.02)):
        await asyncio.sleep(0.2)
    assert len(calls) > 2
    assert all(later - earlier >= 0.019 for earlier, later in pairwise(calls))
    ended = len(calls)
    await asyncio.sleep(0.05)
    assert len(calls) == ended


async def test_the_first_call_may_wait_for_the_interval() -> None:
    calls: list[float] = []
    async with running(periodic("count", counting(calls), 3600, run_at_start=False)):
        await asyncio.sleep(0.05)
    assert calls == []


async def test_an_error_is_logged_and_the_task_goes_on() -> None:
    calls: list[float] = []
    with structlog.testing.capture_logs() as lines:
        async with running(periodic("count", counting(calls, fails=2), 0)):
            await asyncio.sleep(0.05)
    assert len(calls) > 2
    failures = [line for line in lines if line["event"] == "background task failed"]
    assert [(line["task"], line["error"]) for line in failures] == [("count", "ZeroDivisionError")] * 2


async def test_a_wakeup_ends_the_pause() -> None:
    calls: list[float] = []
    wakeup = asyncio.Event()
    async with running(periodic("count", counting(calls), 3600, wakeup=wakeup)):
        await asyncio.sleep(0.02)
        assert len(calls) == 1
        wakeup.set()
        await asyncio.sleep(0.02)
        assert len(calls) == 2
        assert not wakeup.is_set()


async def test_a_trigger_is_waited_for_before_each_call() -> None:
    calls: list[float] = []
    trigger = asyncio.Event()
    async with running(periodic("count", counting(calls), 0, trigger=trigger)):
        await asyncio.sleep(0.02)
        assert calls == []
        for expected in (1, 2):
            trigger.set()
            await asyncio.sleep(0.02)
            assert len(calls) == expected


async def test_a_task_that_swallows_cancellations_is_cancelled_again() -> None:
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
    await cancel_tasks([task])
    assert (swallowed, task.cancelled()) == (3, True)


async def test_tasks_that_ended_or_failed_are_ignored() -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    tasks = [asyncio.create_task(fails()), asyncio.create_task(asyncio.sleep(0))]
    await asyncio.sleep(0.01)
    await cancel_tasks(tasks)
    await cancel_tasks([])
    assert all(task.done() for task in tasks)
