"""Waiting: jobs that fail, vanish, hang or never end, and servers that stop answering."""

import asyncio

import pytest

from huajuan.demo_comfyui.faults import Mode
from huajuan.inference_client import (
    ComfyUI,
    DrawingFailed,
    JobCancelled,
    JobLost,
    JobState,
    JobTimeout,
    OutcomeUnknown,
)
from huajuan.runtime.periodic import cancel_tasks
from tests.inference_client.conftest import RunningDemo, begun, drawing, limits, until

BOTH_AGES = pytest.mark.parametrize("is_old", [False, True], ids=["new", "old"])


@pytest.fixture
def aged(server: RunningDemo, is_old: bool) -> RunningDemo:
    if is_old:
        server.fault(Mode.OLD_SERVER, times=None)
    return server


@BOTH_AGES
async def test_a_failed_run_says_why_without_giving_anything_away(
    aged: RunningDemo, comfyui: ComfyUI
) -> None:
    aged.fault(Mode.EXECUTION_ERROR)
    asked = drawing()
    with pytest.raises(DrawingFailed) as raised:
        await comfyui.draw(asked)
    assert raised.value.reason == "the server failed while drawing, in SaveImage"
    assert "/srv/secret" in raised.value.detail
    assert await comfyui.find(asked.prompt_id) is JobState.FAILED
    with pytest.raises(DrawingFailed):
        await comfyui.draw(asked)
    assert aged.runs(asked) == 1


async def test_what_a_failed_run_had_saved_is_not_taken_for_the_picture(
    server: RunningDemo, comfyui: ComfyUI
) -> None:
    server.fault(Mode.PARTIAL_OUTPUTS)
    asked = drawing()
    with pytest.raises(DrawingFailed, match="failed while drawing, in SaveImage"):
        await comfyui.draw(asked)
    entry = server.http.get(f"/history/{asked.prompt_id}").json()[str(asked.prompt_id)]
    assert entry["outputs"]["save"]["images"]


async def test_exhausted_memory_is_named(server: RunningDemo, comfyui: ComfyUI) -> None:
    server.fault(Mode.OUT_OF_MEMORY)
    with pytest.raises(DrawingFailed, match="out of memory"):
        await comfyui.draw(drawing())


@BOTH_AGES
async def test_a_run_stopped_by_somebody_else_is_cancelled(aged: RunningDemo, comfyui: ComfyUI) -> None:
    aged.fault(Mode.INTERRUPTED)
    asked = drawing()
    with pytest.raises(JobCancelled):
        await comfyui.draw(asked)
    assert await comfyui.find(asked.prompt_id) is JobState.CANCELLED


@BOTH_AGES
async def test_a_job_forgotten_by_a_restart_is_lost(aged: RunningDemo, comfyui: ComfyUI) -> None:
    aged.fault(Mode.RESTART)
    with pytest.raises(JobLost):
        await comfyui.draw(drawing())


@BOTH_AGES
async def test_a_history_that_comes_late_is_waited_for(aged: RunningDemo, comfyui: ComfyUI) -> None:
    aged.fault(Mode.HISTORY_LATE, seconds=0.15)
    assert (await comfyui.draw(drawing())).content


async def test_a_history_that_never_comes_is_a_lost_job(server: RunningDemo, comfyui: ComfyUI) -> None:
    server.fault(Mode.HISTORY_LATE, seconds=60)
    with pytest.raises(JobLost):
        await comfyui.draw(drawing())


@BOTH_AGES
async def test_a_job_without_progress_is_stopped(aged: RunningDemo) -> None:
    aged.fault(Mode.NEVER_ENDING)
    asked = drawing()
    async with ComfyUI(aged.url, limits=limits(seconds_without_progress_max=0.3)) as comfyui:
        with pytest.raises(JobTimeout) as raised:
            await comfyui.draw(asked)
        assert not raised.value.worker_stuck
        assert await comfyui.find(asked.prompt_id) is JobState.CANCELLED


@BOTH_AGES
async def test_a_dead_worker_is_distinguished_from_a_slow_one(aged: RunningDemo) -> None:
    aged.fault(Mode.ZOMBIE)
    async with ComfyUI(aged.url, limits=limits(seconds_without_progress_max=0.3)) as comfyui:
        with pytest.raises(JobTimeout) as raised:
            await comfyui.draw(drawing())
    assert raised.value.worker_stuck


async def test_a_job_behind_a_dead_worker_leaves_the_queue_in_time(server: RunningDemo) -> None:
    server.fault(Mode.ZOMBIE)
    first, second = drawing(), drawing()
    patient = limits(job_seconds_max=0.6, seconds_without_progress_max=60.0)
    async with ComfyUI(server.url, limits=patient) as comfyui:
        stuck = await begun(comfyui, first, JobState.RUNNING)
        failed = await asyncio.gather(stuck, comfyui.draw(second), return_exceptions=True)
        assert [type(error) for error in failed] == [JobTimeout, JobTimeout]
        assert await comfyui.find(second.prompt_id) is JobState.UNKNOWN


@BOTH_AGES
async def test_a_job_behind_a_dead_worker_is_not_waited_for_until_its_deadline(aged: RunningDemo) -> None:
    """The worker died in another client's job; a queued job is removed again."""
    aged.fault(Mode.ZOMBIE)
    async with ComfyUI(aged.url, limits=limits()) as other:
        await cancel_tasks([await begun(other, drawing(), JobState.RUNNING)])
    asked = drawing()
    async with ComfyUI(aged.url, limits=limits(seconds_without_progress_max=0.4)) as comfyui:
        with pytest.raises(JobTimeout) as raised:
            await asyncio.wait_for(comfyui.draw(asked), 10)
        assert raised.value.worker_stuck
        assert (await comfyui.find(asked.prompt_id), aged.runs(asked)) == (JobState.UNKNOWN, 0)


@pytest.mark.parametrize("is_own", [True, False], ids=["own", "foreign"])
async def test_a_queue_that_moves_is_waited_for(server: RunningDemo, is_own: bool) -> None:
    """The wait exceeds the limit without progress: behind a slow job of ours, or several of others."""
    server.slow_down(0.3)
    quick = limits(seconds_without_progress_max=3.0, job_seconds_max=60.0)
    async with ComfyUI(server.url, limits=quick) as comfyui, ComfyUI(server.url, limits=quick) as other:
        ahead = [drawing(steps=12)] if is_own else [drawing(steps=3) for _ in range(4)]
        before = [asyncio.create_task((comfyui if is_own else other).draw(each)) for each in ahead]

        async def are_queued() -> bool:
            return len(server.demo.jobs.all()) == len(ahead)

        await until(are_queued)
        assert (await comfyui.draw(drawing(steps=1))).content
        assert all(drawn.content for drawn in await asyncio.gather(*before))


async def test_slow_progress_is_progress(server: RunningDemo) -> None:
    server.slow_down(0.12)
    async with ComfyUI(server.url, limits=limits(seconds_without_progress_max=0.4)) as comfyui:
        assert (await comfyui.draw(drawing(steps=6))).content


async def test_a_server_that_stops_answering_leaves_the_outcome_open(
    server: RunningDemo, comfyui: ComfyUI
) -> None:
    server.slow_down(0.2)
    asked = drawing()
    drawn = await begun(comfyui, asked, JobState.RUNNING)
    server.fault(Mode.LOOKUP_500, times=None)
    with pytest.raises(OutcomeUnknown):
        await drawn
    server.demo.faults.clear()
    assert (await comfyui.finish(asked)).content
    assert server.runs(asked) == 1


async def test_a_short_outage_is_tolerated(server: RunningDemo, comfyui: ComfyUI) -> None:
    server.slow_down(0.1)
    asked = drawing()
    drawn = await begun(comfyui, asked, JobState.RUNNING)
    server.fault(Mode.LOOKUP_500, times=2)
    assert (await drawn).content


async def test_an_answer_beyond_the_bound_is_no_answer(server: RunningDemo) -> None:
    server.fault(Mode.HISTORY_HUGE, times=None)
    async with ComfyUI(server.url, limits=limits(json_bytes_max=100_000)) as comfyui:
        with pytest.raises(OutcomeUnknown):
            await comfyui.draw(drawing())


async def test_jobs_of_others_ahead_in_the_queue_are_waited_for(
    server: RunningDemo, comfyui: ComfyUI
) -> None:
    server.slow_down(0.05)
    server.fault(Mode.FOREIGN_JOBS, seconds=3)
    told: list[float] = []
    asked = drawing(noise_seed=8)
    assert (await comfyui.draw(asked, told.append)).content
    assert server.runs(asked) == 1
    assert server.demo.jobs.runs.total() == 4
    assert told == sorted(told)


async def test_the_number_of_watched_jobs_is_bounded(server: RunningDemo) -> None:
    server.slow_down(0.1)
    async with ComfyUI(server.url, limits=limits(jobs_watched_max=2)) as comfyui:
        drawn = await asyncio.gather(*(comfyui.draw(drawing()) for _ in range(3)), return_exceptions=True)
    assert sorted(type(each).__name__ for each in drawn) == ["Drawn", "Drawn", "ServerUnavailable"]
