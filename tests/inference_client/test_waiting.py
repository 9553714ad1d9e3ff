"""Waiting: jobs that fail, vanish, hang or never end, and servers that stop answering."""

import asyncio

import pytest

from huajuan.demo_comfyui.faults import Mode
from huajuan.inference_client import (
    Cancelled,
    ComfyUI,
    DrawingFailed,
    JobLost,
    JobState,
    OutcomeUnknown,
    TookTooLong,
)
from huajuan.runtime.cancel_tasks import end
from tests.inference_client.conftest import RunningPainter, begun, drawing, limits

BOTH_AGES = pytest.mark.parametrize("is_old", [False, True], ids=["new", "old"])


@pytest.fixture
def aged(painter: RunningPainter, is_old: bool) -> RunningPainter:
    if is_old:
        painter.fault(Mode.OLD_SERVER, times=None)
    return painter


@BOTH_AGES
async def test_a_failed_run_says_why_without_giving_anything_away(
    aged: RunningPainter, comfyui: ComfyUI
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
    painter: RunningPainter, comfyui: ComfyUI
) -> None:
    painter.fault(Mode.PARTIAL_OUTPUTS)
    asked = drawing()
    with pytest.raises(DrawingFailed, match="failed while drawing, in SaveImage"):
        await comfyui.draw(asked)
    entry = painter.http.get(f"/history/{asked.prompt_id}").json()[str(asked.prompt_id)]
    assert entry["outputs"]["save"]["images"]


async def test_exhausted_memory_is_named(painter: RunningPainter, comfyui: ComfyUI) -> None:
    painter.fault(Mode.OUT_OF_MEMORY)
    with pytest.raises(DrawingFailed, match="out of memory"):
        await comfyui.draw(drawing())


@BOTH_AGES
async def test_a_run_stopped_by_somebody_else_is_cancelled(aged: RunningPainter, comfyui: ComfyUI) -> None:
    aged.fault(Mode.INTERRUPTED)
    asked = drawing()
    with pytest.raises(Cancelled):
        await comfyui.draw(asked)
    assert await comfyui.find(asked.prompt_id) is JobState.CANCELLED


@BOTH_AGES
async def test_a_job_forgotten_by_a_restart_is_lost(aged: RunningPainter, comfyui: ComfyUI) -> None:
    aged.fault(Mode.RESTART)
    with pytest.raises(JobLost):
        await comfyui.draw(drawing())


@BOTH_AGES
async def test_a_history_that_comes_late_is_waited_for(aged: RunningPainter, comfyui: ComfyUI) -> None:
    aged.fault(Mode.HISTORY_LATE, seconds=0.15)
    assert (await comfyui.draw(drawing())).content


async def test_a_history_that_never_comes_is_a_lost_job(painter: RunningPainter, comfyui: ComfyUI) -> None:
    painter.fault(Mode.HISTORY_LATE, seconds=60)
    with pytest.raises(JobLost):
        await comfyui.draw(drawing())


@BOTH_AGES
async def test_a_job_without_progress_is_stopped(aged: RunningPainter) -> None:
    aged.fault(Mode.NEVER_ENDING)
    asked = drawing()
    async with ComfyUI(aged.url, limits=limits(seconds_without_progress_max=0.3)) as comfyui:
        with pytest.raises(TookTooLong) as raised:
            await comfyui.draw(asked)
        assert not raised.value.worker_stuck
        assert await comfyui.find(asked.prompt_id) is JobState.CANCELLED


@BOTH_AGES
async def test_a_dead_worker_is_told_from_a_slow_one(aged: RunningPainter) -> None:
    aged.fault(Mode.ZOMBIE)
    async with ComfyUI(aged.url, limits=limits(seconds_without_progress_max=0.3)) as comfyui:
        with pytest.raises(TookTooLong) as raised:
            await comfyui.draw(drawing())
    assert raised.value.worker_stuck


async def test_a_job_behind_a_dead_worker_leaves_the_queue_in_time(painter: RunningPainter) -> None:
    painter.fault(Mode.ZOMBIE)
    first, second = drawing(), drawing()
    patient = limits(job_seconds_max=0.6, seconds_without_progress_max=60.0)
    async with ComfyUI(painter.url, limits=patient) as comfyui:
        stuck = await begun(comfyui, first, JobState.RUNNING)
        failed = await asyncio.gather(stuck, comfyui.draw(second), return_exceptions=True)
        assert [type(error) for error in failed] == [TookTooLong, TookTooLong]
        assert await comfyui.find(second.prompt_id) is JobState.UNKNOWN


@BOTH_AGES
async def test_a_job_behind_a_dead_worker_is_not_waited_for_until_its_deadline(aged: RunningPainter) -> None:
    """The worker died in somebody else's job; what nobody began is taken out of the queue again."""
    aged.fault(Mode.ZOMBIE)
    async with ComfyUI(aged.url, limits=limits()) as other:
        await end([await begun(other, drawing(), JobState.RUNNING)])
    asked = drawing()
    async with ComfyUI(aged.url, limits=limits(seconds_without_progress_max=0.4)) as comfyui:
        with pytest.raises(TookTooLong) as raised:
            await asyncio.wait_for(comfyui.draw(asked), 10)
        assert raised.value.worker_stuck
        assert (await comfyui.find(asked.prompt_id), aged.runs(asked)) == (JobState.UNKNOWN, 0)


@pytest.mark.parametrize("is_own", [True, False], ids=["own", "foreign"])
async def test_a_queue_that_moves_is_waited_for(painter: RunningPainter, is_own: bool) -> None:
    """Longer than any silence that is allowed: behind a slow job of ours, or behind several of others."""
    painter.slow_down(0.12)
    quick = limits(seconds_without_progress_max=0.7)
    async with ComfyUI(painter.url, limits=quick) as comfyui, ComfyUI(painter.url, limits=quick) as other:
        ahead = [drawing(steps=12)] if is_own else [drawing(steps=3) for _ in range(4)]
        before = [asyncio.create_task((comfyui if is_own else other).draw(each)) for each in ahead]
        await asyncio.sleep(0.3)
        assert (await comfyui.draw(drawing(steps=1))).content
        assert all(drawn.content for drawn in await asyncio.gather(*before))


async def test_slow_progress_is_progress(painter: RunningPainter) -> None:
    painter.slow_down(0.12)
    async with ComfyUI(painter.url, limits=limits(seconds_without_progress_max=0.4)) as comfyui:
        assert (await comfyui.draw(drawing(steps=6))).content


async def test_a_server_that_stops_answering_leaves_the_outcome_open(
    painter: RunningPainter, comfyui: ComfyUI
) -> None:
    painter.slow_down(0.2)
    asked = drawing()
    drawn = await begun(comfyui, asked, JobState.RUNNING)
    painter.fault(Mode.LOOKUP_500, times=None)
    with pytest.raises(OutcomeUnknown):
        await drawn
    painter.painter.faults.clear()
    assert (await comfyui.finish(asked)).content
    assert painter.runs(asked) == 1


async def test_a_server_that_stumbles_is_forgiven(painter: RunningPainter, comfyui: ComfyUI) -> None:
    painter.slow_down(0.1)
    asked = drawing()
    drawn = await begun(comfyui, asked, JobState.RUNNING)
    painter.fault(Mode.LOOKUP_500, times=2)
    assert (await drawn).content


async def test_an_answer_beyond_the_bound_is_no_answer(painter: RunningPainter) -> None:
    painter.fault(Mode.HISTORY_HUGE, times=None)
    async with ComfyUI(painter.url, limits=limits(json_bytes_max=100_000)) as comfyui:
        with pytest.raises(OutcomeUnknown):
            await comfyui.draw(drawing())


async def test_jobs_of_others_ahead_in_the_queue_are_waited_for(
    painter: RunningPainter, comfyui: ComfyUI
) -> None:
    painter.slow_down(0.05)
    painter.fault(Mode.FOREIGN_JOBS, seconds=3)
    told: list[float] = []
    asked = drawing(noise_seed=8)
    assert (await comfyui.draw(asked, told.append)).content
    assert painter.runs(asked) == 1
    assert painter.painter.jobs.runs.total() == 4
    assert told == sorted(told)


async def test_too_many_waits_at_once_are_refused(painter: RunningPainter) -> None:
    painter.slow_down(0.1)
    async with ComfyUI(painter.url, limits=limits(jobs_watched_max=2)) as comfyui:
        drawn = await asyncio.gather(*(comfyui.draw(drawing()) for _ in range(3)), return_exceptions=True)
    assert sorted(type(each).__name__ for each in drawn) == ["Drawn", "Drawn", "ServerUnavailable"]
