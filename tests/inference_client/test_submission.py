"""Submission: a job runs exactly once after any response; rejections differ from ambiguous responses."""

import socket
from typing import Any

import pytest

from huajuan.demo_comfyui.faults import Mode
from huajuan.inference_client import (
    ComfyUI,
    JobCancelled,
    JobState,
    OutcomeUnknown,
    ServerUnavailable,
    WorkflowRejected,
)
from tests.inference_client.conftest import FAST, RunningDemo, drawing, limits

QUEUED_ALL_THE_SAME = [
    Mode.SUBMIT_500_QUEUED,
    Mode.SUBMIT_DROPPED_QUEUED,
    Mode.SUBMIT_GARBAGE_QUEUED,
    Mode.SUBMIT_HANGS_QUEUED,
]
NOT_QUEUED = [Mode.SUBMIT_500, Mode.SUBMIT_DROPPED, Mode.SUBMIT_HANGS]


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("mode", QUEUED_ALL_THE_SAME)
async def test_a_job_queued_in_spite_of_its_answer_runs_once(
    server: RunningDemo, mode: Mode, is_old: bool
) -> None:
    if is_old:
        server.fault(Mode.OLD_SERVER, times=None)
    server.fault(mode, times=None, seconds=1.0)
    asked = drawing()
    async with ComfyUI(server.url, limits=limits(read_seconds_max=0.4)) as comfyui:
        assert (await comfyui.draw(asked)).content
    assert server.runs(asked) == 1


@pytest.mark.parametrize("mode", NOT_QUEUED)
async def test_a_job_that_never_arrived_is_sent_again(server: RunningDemo, mode: Mode) -> None:
    server.fault(mode, seconds=1.0)
    asked = drawing()
    async with ComfyUI(server.url, limits=limits(read_seconds_max=0.4)) as comfyui:
        assert (await comfyui.draw(asked)).content
    assert server.runs(asked) == 1


async def test_submission_attempts_are_bounded(server: RunningDemo) -> None:
    server.fault(Mode.SUBMIT_DROPPED, times=10)
    asked = drawing()
    async with ComfyUI(server.url, limits=limits(submit_attempts_max=3)) as comfyui:
        with pytest.raises(OutcomeUnknown):
            await comfyui.draw(asked)
    assert [fault.times for fault in server.demo.faults.listed()] == [7]
    assert server.runs(asked) == 0


async def test_clear_errors_and_an_unknown_id_mean_that_nothing_was_queued(
    comfyui: ComfyUI, server: RunningDemo
) -> None:
    server.fault(Mode.SUBMIT_500, times=None)
    with pytest.raises(ServerUnavailable):
        await comfyui.draw(drawing())


async def test_a_job_that_cannot_be_looked_up_is_never_sent_again(
    comfyui: ComfyUI, server: RunningDemo
) -> None:
    asked = drawing()
    server.fault(Mode.SUBMIT_500_QUEUED, times=None)
    server.fault(Mode.LOOKUP_500, times=None)
    with pytest.raises(OutcomeUnknown):
        await comfyui._jobs.submit(asked.prompt_id, await comfyui._graph(asked))
    server.demo.faults.clear()
    assert (await comfyui.finish(asked)).content
    assert server.runs(asked) == 1


async def test_a_refused_connection_means_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with ComfyUI(f"http://127.0.0.1:{port}", limits=FAST) as comfyui:
        with pytest.raises(ServerUnavailable) as raised:
            await comfyui.draw(drawing())
        assert str(port) not in raised.value.reason
        with pytest.raises(ServerUnavailable):
            await comfyui.check()
        with pytest.raises(ServerUnavailable):
            await comfyui.checkpoints()
        with pytest.raises(OutcomeUnknown):
            await comfyui.finish(drawing())
        with pytest.raises(OutcomeUnknown):
            await comfyui.find(drawing().prompt_id)
        with pytest.raises(OutcomeUnknown):
            await comfyui.cancel(drawing().prompt_id)
        await comfyui.forget(drawing().prompt_id)


async def test_a_server_that_takes_no_jobs_from_us_is_unavailable(
    comfyui: ComfyUI, server: RunningDemo
) -> None:
    server.fault(Mode.SUBMIT_FORBIDDEN)
    with pytest.raises(ServerUnavailable):
        await comfyui.draw(drawing())


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        (Mode.MISSING_MODEL, "value_not_in_list (CheckpointLoaderSimple.ckpt_name)"),
        (Mode.MISSING_NODE, "missing_node_type (SuperSampler)"),
        (Mode.MISSING_NODE_OLD, "invalid_prompt"),
        (Mode.NODE_ERRORS_WITH_200, "value_not_in_list (CheckpointLoaderSimple.ckpt_name)"),
    ],
)
async def test_a_refused_graph_is_not_sent_again_and_says_why(
    comfyui: ComfyUI, server: RunningDemo, mode: Mode, code: str
) -> None:
    server.slow_down(0.2)
    server.fault(mode)
    asked = drawing()
    with pytest.raises(WorkflowRejected) as raised:
        await comfyui.draw(asked)
    assert code in raised.value.reason
    assert "secret" not in raised.value.reason
    assert raised.value.detail
    assert await comfyui.find(asked.prompt_id) in {JobState.UNKNOWN, JobState.CANCELLED, JobState.RUNNING}
    assert server.runs(asked) <= 1


async def test_the_valid_part_of_an_invalid_graph_is_stopped(comfyui: ComfyUI, server: RunningDemo) -> None:
    server.fault(Mode.NEVER_ENDING)
    server.fault(Mode.NODE_ERRORS_WITH_200)
    asked = drawing()
    with pytest.raises(WorkflowRejected):
        await comfyui.draw(asked)
    with pytest.raises(JobCancelled):
        await comfyui.finish(asked)


async def test_a_model_that_is_not_there_is_refused_by_the_server(comfyui: ComfyUI) -> None:
    with pytest.raises(WorkflowRejected, match="ckpt_name"):
        await comfyui.draw(drawing(checkpoint="gone.safetensors"))


async def test_a_server_without_models_cannot_draw(comfyui: ComfyUI, server: RunningDemo) -> None:
    server.fault(Mode.NO_CHECKPOINTS)
    with pytest.raises(WorkflowRejected, match="no model"):
        await comfyui.draw(drawing())
    assert (await comfyui.draw(drawing())).content


async def test_a_server_that_ignores_our_ids_is_refused(comfyui: ComfyUI, server: RunningDemo) -> None:
    server.fault(Mode.SUBMIT_OTHER_ID)
    asked = drawing()
    with pytest.raises(WorkflowRejected, match="too old"):
        await comfyui.draw(asked)


async def test_after_a_rejection_the_models_are_read_again(
    server: RunningDemo, comfyui: ComfyUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    await comfyui.draw(drawing())
    asked: list[list[str]] = []
    real = comfyui._discovery._describe

    async def descriptions(names: list[str]) -> dict[str, Any]:
        asked.append(names)
        return await real(names)

    monkeypatch.setattr(comfyui._discovery, "_describe", descriptions)
    await comfyui.draw(drawing())
    assert asked == []
    server.fault(Mode.MISSING_MODEL)
    with pytest.raises(WorkflowRejected):
        await comfyui.draw(drawing())
    assert "CheckpointLoaderSimple" in asked[0]
    assert server.demo.faults.listed() == [], "sent once, for nothing had changed"
