"""Cancelling queued, running, finished and unknown jobs, on new and old servers; other jobs continue."""

import asyncio

import pytest

from huajuan.demo_comfyui.faults import Mode
from huajuan.inference_client import ComfyUI, JobCancelled, JobState
from tests.inference_client.conftest import RunningDemo, begun, drawing, limits

pytestmark = pytest.mark.parametrize("is_old", [False, True], ids=["new", "old"])


@pytest.fixture
def slow(server: RunningDemo, is_old: bool) -> RunningDemo:
    server.slow_down(0.1)
    if is_old:
        server.fault(Mode.OLD_SERVER, times=None)
    return server


async def test_a_running_job_is_stopped(slow: RunningDemo, comfyui: ComfyUI) -> None:
    asked = drawing(steps=50)
    drawn = await begun(comfyui, asked, JobState.RUNNING)
    await comfyui.cancel(asked.prompt_id)
    with pytest.raises(JobCancelled):
        await drawn
    assert await comfyui.find(asked.prompt_id) is JobState.CANCELLED


async def test_a_queued_job_is_removed_and_the_running_one_goes_on(
    slow: RunningDemo, comfyui: ComfyUI
) -> None:
    first, second = drawing(steps=5), drawing()
    drawing_first = await begun(comfyui, first, JobState.RUNNING)
    drawing_second = await begun(comfyui, second, JobState.QUEUED)
    await comfyui.cancel(second.prompt_id)
    with pytest.raises(JobCancelled):
        await drawing_second
    assert (await drawing_first).content
    assert slow.runs(second) == 0


async def test_a_finished_job_keeps_its_picture(slow: RunningDemo, comfyui: ComfyUI) -> None:
    asked = drawing()
    picture = await comfyui.draw(asked)
    await comfyui.cancel(asked.prompt_id)
    assert await comfyui.finish(asked) == picture


async def test_cancelling_an_unknown_job_changes_nothing(slow: RunningDemo, comfyui: ComfyUI) -> None:
    asked = drawing(steps=5)
    drawn = await begun(comfyui, asked, JobState.RUNNING)
    await comfyui.cancel(drawing().prompt_id)
    assert (await drawn).content


async def test_a_job_cancelled_while_it_is_being_sent_is_not_drawn(
    slow: RunningDemo, comfyui: ComfyUI
) -> None:
    for turns in range(0, 40, 4):
        asked = drawing(steps=50)
        drawn = asyncio.create_task(comfyui.draw(asked))
        for _ in range(1 + turns):
            await asyncio.sleep(0)
        await comfyui.cancel(asked.prompt_id)
        with pytest.raises(JobCancelled):
            await drawn


async def test_a_removed_job_is_not_waited_for(slow: RunningDemo) -> None:
    patient = limits(lost_seconds_max=3600.0, job_seconds_max=7200.0)
    async with ComfyUI(slow.url, limits=patient) as comfyui:
        drawing_first = await begun(comfyui, drawing(steps=10), JobState.RUNNING)
        second = drawing()
        drawing_second = await begun(comfyui, second, JobState.QUEUED)
        await comfyui.cancel(second.prompt_id)
        with pytest.raises(JobCancelled):
            await asyncio.wait_for(drawing_second, 30)
        assert (await drawing_first).content
