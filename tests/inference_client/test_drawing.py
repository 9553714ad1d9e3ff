"""Drawing without faults: sizes, sampling methods, job ids, and jobs of other processes."""

import asyncio
import io

import pytest
from PIL import Image

from huajuan.demo_comfyui.faults import Mode
from huajuan.inference_client import ComfyUI, JobLost, JobState, WorkflowRejected
from huajuan.inference_client.fill import text_to_image
from tests.inference_client.conftest import FAST, RunningDemo, begun, drawing


def opened(png: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(png))
    picture.load()
    return picture


@pytest.mark.parametrize("method", ["DDIM", "PLMS", "K-LMS"])
async def test_a_picture_has_exactly_the_size_asked_for(comfyui: ComfyUI, method: str) -> None:
    png = (await comfyui.draw(drawing(width=220, height=200, sampling_method=method))).content
    assert opened(png).size == (220, 200)


async def test_a_picture_carries_no_metadata(comfyui: ComfyUI, server: RunningDemo) -> None:
    asked = drawing(prompt="a secret prompt")
    png = (await comfyui.draw(asked)).content
    assert opened(png).info == {}
    original = server.http.get("/view", params=place(server, str(asked.prompt_id))).content
    assert "no model" in opened(original).info["Software"]
    assert "secret" in opened(original).info["prompt"]


def place(server: RunningDemo, prompt_id: str) -> dict[str, str]:
    entry = server.http.get(f"/history/{prompt_id}").json()[prompt_id]
    found: dict[str, str] = entry["outputs"]["save"]["images"][0]
    return found


async def test_same_words_and_seed_give_the_same_picture_others_another(comfyui: ComfyUI) -> None:
    one, same, other = await asyncio.gather(*(comfyui.draw(drawing(noise_seed=seed)) for seed in (1, 1, 2)))
    assert one == same != other


async def test_progress_rises_to_one(comfyui: ComfyUI, server: RunningDemo) -> None:
    server.slow_down(0.02)
    told: list[float] = []
    await comfyui.draw(drawing(steps=15), told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert any(0 < fraction < 1 for fraction in told)


async def test_a_failing_progress_callback_is_the_caller_s_own_error(
    comfyui: ComfyUI, server: RunningDemo
) -> None:
    server.slow_down(0.02)

    def fail(_fraction: float) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await comfyui.draw(drawing(), fail)
    assert (await comfyui.draw(drawing())).content


async def test_a_job_already_known_is_not_sent_again(comfyui: ComfyUI, server: RunningDemo) -> None:
    asked = drawing()
    assert await comfyui.draw(asked) == await comfyui.draw(asked)
    assert server.runs(asked) == 1


async def test_two_calls_at_once_for_one_id_run_it_once(comfyui: ComfyUI, server: RunningDemo) -> None:
    server.slow_down(0.02)
    asked = drawing()
    one, other = await asyncio.gather(comfyui.draw(asked), comfyui.draw(asked))
    assert one == other
    assert server.runs(asked) == 1


async def test_another_process_can_finish_a_job(server: RunningDemo) -> None:
    server.slow_down(0.1)
    asked = drawing()
    async with ComfyUI(server.url, limits=FAST) as first:
        drawn = await begun(first, asked, JobState.RUNNING)
        drawn.cancel()
        await asyncio.wait({drawn})
    async with ComfyUI(server.url, limits=FAST) as second:
        assert opened((await second.finish(asked)).content).size == (48, 48)
    assert server.runs(asked) == 1


async def test_finishing_an_unknown_job_sends_nothing(comfyui: ComfyUI, server: RunningDemo) -> None:
    asked = drawing()
    with pytest.raises(JobLost):
        await comfyui.finish(asked)
    assert server.runs(asked) == 0


async def test_a_job_is_found_in_every_state(comfyui: ComfyUI, server: RunningDemo) -> None:
    server.slow_down(0.1)
    first, second = drawing(), drawing()
    assert await comfyui.find(first.prompt_id) is JobState.UNKNOWN
    drawn = asyncio.gather(comfyui.draw(first), comfyui.draw(second))
    await asyncio.sleep(0.2)
    found = {await comfyui.find(first.prompt_id), await comfyui.find(second.prompt_id)}
    assert found == {JobState.RUNNING, JobState.QUEUED}
    await drawn
    assert await comfyui.find(second.prompt_id) is JobState.SUCCEEDED


async def test_a_forgotten_job_is_unknown(comfyui: ComfyUI) -> None:
    asked = drawing()
    await comfyui.draw(asked)
    await comfyui.forget(asked.prompt_id)
    assert await comfyui.find(asked.prompt_id) is JobState.UNKNOWN


async def test_a_drawing_out_of_range_is_refused_before_anything_is_sent(
    comfyui: ComfyUI, server: RunningDemo
) -> None:
    asked = drawing(noise_seed=-1)
    with pytest.raises(WorkflowRejected):
        await comfyui.draw(asked)
    assert server.runs(asked) == 0


async def test_one_failed_lookup_before_submission_is_retried(comfyui: ComfyUI, server: RunningDemo) -> None:
    server.fault(Mode.LOOKUP_500, times=1)
    assert (await comfyui.draw(drawing())).content


async def test_the_server_version_is_read(comfyui: ComfyUI) -> None:
    info = await comfyui.check()
    assert info.is_demo
    assert await comfyui.checkpoints() == ["demo-painter (no model).safetensors"]


async def test_a_custom_workflow_is_used(comfyui: ComfyUI) -> None:
    workflow = text_to_image()
    workflow["positive"]["inputs"]["text"] = "snow, {prompt}"
    snowy = await comfyui.draw(drawing(prompt="moon", workflow=workflow))
    assert await comfyui.draw(drawing(prompt="moon")) != snowy
    assert await comfyui.draw(drawing(prompt="snow, moon")) == snowy


async def test_a_url_with_a_path_is_kept(server: RunningDemo) -> None:
    # Every route but /api/jobs exists below /api too, so this server looks like an old one.
    async with ComfyUI(f"{server.url}/api/", limits=FAST) as below:
        assert opened((await below.draw(drawing())).content).size == (48, 48)
