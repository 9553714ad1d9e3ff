"""Fetching results: missing, damaged, endless and wrong pictures."""

import pytest

from huajuan.demo_comfyui.faults import Mode
from huajuan.inference_client import ComfyUI, InvalidPicture, OutcomeUnknown
from huajuan.inference_client.results import find_picture
from tests.inference_client.conftest import RunningDemo, drawing, limits


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
    server: RunningDemo, comfyui: ComfyUI, mode: Mode, reason: str
) -> None:
    server.fault(mode, times=None)
    asked = drawing()
    with pytest.raises(InvalidPicture, match=reason):
        await comfyui.draw(asked)
    assert server.runs(asked) == 1


async def test_an_answer_from_the_cache_whose_file_was_deleted_is_no_picture(
    server: RunningDemo, comfyui: ComfyUI
) -> None:
    asked = drawing()
    await comfyui.draw(asked)
    entry = server.http.get(f"/history/{asked.prompt_id}").json()[str(asked.prompt_id)]
    server.demo.files.delete(entry["outputs"]["save"]["images"][0])
    await comfyui.forget(asked.prompt_id)
    with pytest.raises(InvalidPicture, match="gone"):
        await comfyui.draw(asked)
    assert server.runs(asked) == 2
    assert (await comfyui.draw(drawing(noise_seed=asked.noise_seed))).content  # another job has its own file


@pytest.mark.parametrize("mode", [Mode.PICTURE_TRUNCATED, Mode.PICTURE_BROKEN_OFF, Mode.PICTURE_NO_PNG])
async def test_one_broken_transfer_is_repeated(server: RunningDemo, comfyui: ComfyUI, mode: Mode) -> None:
    server.fault(mode, times=1)
    assert (await comfyui.draw(drawing())).content


async def test_transfers_that_always_break_leave_the_outcome_open(
    server: RunningDemo, comfyui: ComfyUI
) -> None:
    server.fault(Mode.PICTURE_BROKEN_OFF, times=None)
    asked = drawing()
    with pytest.raises(OutcomeUnknown):
        await comfyui.draw(asked)
    server.demo.faults.clear()
    assert (await comfyui.finish(asked)).content


async def test_a_slow_transfer_times_out(server: RunningDemo) -> None:
    server.fault(Mode.PICTURE_DRIPS, times=None, seconds=0.1)
    async with ComfyUI(server.url, limits=limits(picture_seconds_max=0.6)) as comfyui:
        with pytest.raises(OutcomeUnknown, match="in time"):
            await comfyui.draw(drawing())


async def test_a_picture_beyond_the_bound_is_refused(server: RunningDemo) -> None:
    server.fault(Mode.PICTURE_HUGE, times=None)
    async with ComfyUI(server.url, limits=limits(picture_bytes_max=500_000)) as comfyui:
        with pytest.raises(InvalidPicture, match="large"):
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
    assert find_picture({"outputs": outputs}, "ours", {})["filename"] == chosen


@pytest.mark.parametrize("outputs", [None, {}, [], {"9": {}}, {"9": {"images": [{"filename": 3}]}}])
def test_outputs_without_a_picture_are_invalid(outputs: object) -> None:
    with pytest.raises(InvalidPicture):
        find_picture({"outputs": outputs}, "ours", {})
