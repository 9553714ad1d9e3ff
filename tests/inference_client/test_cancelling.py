"""Cancelling: queued, running, finished and unknown jobs, on new and old servers; never anybody else's."""

import pytest

from huajuan.inference_client import Cancelled, ComfyUI, JobState
from huajuan.inference_client.painter.faults import Mode
from tests.inference_client.conftest import RunningPainter, begun, drawing

pytestmark = pytest.mark.parametrize("is_old", [False, True], ids=["new", "old"])


@pytest.fixture
def slow(painter: RunningPainter, is_old: bool) -> RunningPainter:
    painter.slow_down(0.1)
    if is_old:
        painter.fault(Mode.OLD_SERVER, times=None)
    return painter


async def test_a_running_job_is_stopped(slow: RunningPainter, comfyui: ComfyUI) -> None:
    asked = drawing(steps=50)
    drawn = await begun(comfyui, asked, JobState.RUNNING)
    await comfyui.cancel(asked.prompt_id)
    with pytest.raises(Cancelled):
        await drawn
    assert await comfyui.find(asked.prompt_id) is JobState.CANCELLED


async def test_a_queued_job_is_removed_and_the_running_one_goes_on(
    slow: RunningPainter, comfyui: ComfyUI
) -> None:
    first, second = drawing(steps=5), drawing()
    drawing_first = await begun(comfyui, first, JobState.RUNNING)
    drawing_second = await begun(comfyui, second, JobState.QUEUED)
    await comfyui.cancel(second.prompt_id)
    with pytest.raises(Cancelled):
        await drawing_second
    assert await drawing_first
    assert slow.runs(second) == 0


async def test_a_finished_job_keeps_its_picture(slow: RunningPainter, comfyui: ComfyUI) -> None:
    asked = drawing()
    picture = await comfyui.draw(asked)
    await comfyui.cancel(asked.prompt_id)
    assert await comfyui.finish(asked) == picture


async def test_an_unknown_job_disturbs_nobody(slow: RunningPainter, comfyui: ComfyUI) -> None:
    asked = drawing(steps=5)
    drawn = await begun(comfyui, asked, JobState.RUNNING)
    await comfyui.cancel(drawing().prompt_id)
    assert await drawn
