"""Fetching: pictures that are missing, damaged, endless or not what was asked for."""

import pytest

from huajuan.demo_comfyui.faults import Mode
from huajuan.inference_client import BadPicture, ComfyUI, OutcomeUnknown
from huajuan.inference_client.outputs import picture_place
from tests.inference_client.conftest import RunningPainter, drawing, limits


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (Mode.NO_OUTPUTS, "without a picture"),
        (Mode.FILE_GONE, "gone"),
        (Mode.PICTURE_TRUNCATED, "damaged"),
        (Mode.PICTURE_WRONG_SIZE, "size"),
        (Mode.PICTURE_NO_PNG, "no PNG"),
    ],
)
async def test_a_success_without_the_picture_is_a_failure(
    painter: RunningPainter, comfyui: ComfyUI, mode: Mode, reason: str
) -> None:
    painter.fault(mode, times=None)
    asked = drawing()
    with pytest.raises(BadPicture, match=reason):
        await comfyui.draw(asked)
    assert painter.runs(asked) == 1


async def test_an_answer_from_the_cache_whose_file_was_deleted_is_no_picture(
    painter: RunningPainter, comfyui: ComfyUI
) -> None:
    asked = drawing()
    await comfyui.draw(asked)
    entry = painter.http.get(f"/history/{asked.prompt_id}").json()[str(asked.prompt_id)]
    painter.painter.files.delete(entry["outputs"]["save"]["images"][0])
    await comfyui.forget(asked.prompt_id)
    with pytest.raises(BadPicture, match="gone"):
        await comfyui.draw(asked)
    assert painter.runs(asked) == 2
    assert (await comfyui.draw(drawing(noise_seed=asked.noise_seed))).content  # another job has its own file


@pytest.mark.parametrize("mode", [Mode.PICTURE_TRUNCATED, Mode.PICTURE_BROKEN_OFF, Mode.PICTURE_NO_PNG])
async def test_one_broken_transfer_is_repeated(painter: RunningPainter, comfyui: ComfyUI, mode: Mode) -> None:
    painter.fault(mode, times=1)
    assert (await comfyui.draw(drawing())).content


async def test_transfers_that_always_break_leave_the_outcome_open(
    painter: RunningPainter, comfyui: ComfyUI
) -> None:
    painter.fault(Mode.PICTURE_BROKEN_OFF, times=None)
    asked = drawing()
    with pytest.raises(OutcomeUnknown):
        await comfyui.draw(asked)
    painter.painter.faults.clear()
    assert (await comfyui.finish(asked)).content


async def test_a_picture_that_drips_is_not_waited_for_without_end(painter: RunningPainter) -> None:
    painter.fault(Mode.PICTURE_DRIPS, times=None, seconds=0.1)
    async with ComfyUI(painter.url, limits=limits(picture_seconds_max=0.6)) as comfyui:
        with pytest.raises(OutcomeUnknown, match="in time"):
            await comfyui.draw(drawing())


async def test_a_picture_beyond_the_bound_is_refused(painter: RunningPainter) -> None:
    painter.fault(Mode.PICTURE_HUGE, times=None)
    async with ComfyUI(painter.url, limits=limits(picture_bytes_max=500_000)) as comfyui:
        with pytest.raises(BadPicture, match="large"):
            await comfyui.draw(drawing())


def image(name: str, subfolder: str = "", kind: str = "output") -> dict[str, str]:
    return {"filename": name, "subfolder": subfolder, "type": kind}


@pytest.mark.parametrize(
    ("outputs", "chosen"),
    [
        ({"9": {"images": [image("a"), image("b")]}}, "a"),
        ({"9": {"images": [image("preview", kind="temp")]}, "12": {"images": [image("kept")]}}, "kept"),
        ({"1": {"images": [image("other")]}, "9": {"images": [image("own", "jobs/ours")]}}, "own"),
        ({"1": {"images": [image("other")]}, "9": {"images": [image("own", "jobs\\ours")]}}, "own"),
        ({"1": {"text": ["x"]}, "2": None, "3": {"images": None}, "4": {"images": [{}, image("a")]}}, "a"),
    ],
)
def test_among_several_outputs_the_job_s_own_is_taken(outputs: object, chosen: str) -> None:
    assert picture_place({"outputs": outputs}, "ours", {})["filename"] == chosen


@pytest.mark.parametrize("outputs", [None, {}, [], {"9": {}}, {"9": {"images": [{"filename": 3}]}}])
def test_outputs_without_any_picture_are_told(outputs: object) -> None:
    with pytest.raises(BadPicture):
        picture_place({"outputs": outputs}, "ours", {})
