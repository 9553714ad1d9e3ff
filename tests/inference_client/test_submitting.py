"""Submitting: a job runs exactly once whatever becomes of the answer, and refusals are told from doubts."""

import socket
from typing import Any

import pytest

from huajuan.demo_comfyui.faults import Mode
from huajuan.inference_client import Cancelled, ComfyUI, JobState, OutcomeUnknown, Rejected, ServerUnavailable
from tests.inference_client.conftest import FAST, RunningPainter, drawing, limits

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
    painter: RunningPainter, mode: Mode, is_old: bool
) -> None:
    if is_old:
        painter.fault(Mode.OLD_SERVER, times=None)
    painter.fault(mode, times=None, seconds=1.0)
    asked = drawing()
    async with ComfyUI(painter.url, limits=limits(read_seconds_max=0.4)) as comfyui:
        assert (await comfyui.draw(asked)).content
    assert painter.runs(asked) == 1


@pytest.mark.parametrize("mode", NOT_QUEUED)
async def test_a_job_that_never_arrived_is_sent_again(painter: RunningPainter, mode: Mode) -> None:
    painter.fault(mode, seconds=1.0)
    asked = drawing()
    async with ComfyUI(painter.url, limits=limits(read_seconds_max=0.4)) as comfyui:
        assert (await comfyui.draw(asked)).content
    assert painter.runs(asked) == 1


async def test_submitting_is_given_up_after_a_few_attempts(painter: RunningPainter) -> None:
    painter.fault(Mode.SUBMIT_DROPPED, times=10)
    asked = drawing()
    async with ComfyUI(painter.url, limits=limits(submit_attempts_max=3)) as comfyui:
        with pytest.raises(OutcomeUnknown):
            await comfyui.draw(asked)
    assert [fault.times for fault in painter.painter.faults.listed()] == [7]
    assert painter.runs(asked) == 0


async def test_clear_errors_and_an_unknown_id_mean_that_nothing_was_queued(
    comfyui: ComfyUI, painter: RunningPainter
) -> None:
    painter.fault(Mode.SUBMIT_500, times=None)
    with pytest.raises(ServerUnavailable):
        await comfyui.draw(drawing())


async def test_a_job_that_cannot_be_looked_up_is_never_sent_again(
    comfyui: ComfyUI, painter: RunningPainter
) -> None:
    asked = drawing()
    painter.fault(Mode.SUBMIT_500_QUEUED, times=None)
    painter.fault(Mode.LOOKUP_500, times=None)
    with pytest.raises(OutcomeUnknown):
        await comfyui._submission.submit(asked.prompt_id, await comfyui._graph(asked))
    painter.painter.faults.clear()
    assert (await comfyui.finish(asked)).content
    assert painter.runs(asked) == 1


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
    comfyui: ComfyUI, painter: RunningPainter
) -> None:
    painter.fault(Mode.SUBMIT_FORBIDDEN)
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
    comfyui: ComfyUI, painter: RunningPainter, mode: Mode, code: str
) -> None:
    painter.slow_down(0.2)
    painter.fault(mode)
    asked = drawing()
    with pytest.raises(Rejected) as raised:
        await comfyui.draw(asked)
    assert code in raised.value.reason
    assert "secret" not in raised.value.reason
    assert raised.value.detail
    assert await comfyui.find(asked.prompt_id) in {JobState.UNKNOWN, JobState.CANCELLED, JobState.RUNNING}
    assert painter.runs(asked) <= 1


async def test_a_sound_part_of_a_bad_graph_is_stopped(comfyui: ComfyUI, painter: RunningPainter) -> None:
    painter.fault(Mode.NEVER_ENDING)
    painter.fault(Mode.NODE_ERRORS_WITH_200)
    asked = drawing()
    with pytest.raises(Rejected):
        await comfyui.draw(asked)
    with pytest.raises(Cancelled):
        await comfyui.finish(asked)


async def test_a_model_that_is_not_there_is_refused_by_the_server(comfyui: ComfyUI) -> None:
    with pytest.raises(Rejected, match="ckpt_name"):
        await comfyui.draw(drawing(checkpoint="gone.safetensors"))


async def test_a_server_without_models_cannot_draw(comfyui: ComfyUI, painter: RunningPainter) -> None:
    painter.fault(Mode.NO_CHECKPOINTS)
    with pytest.raises(Rejected, match="no model"):
        await comfyui.draw(drawing())
    assert (await comfyui.draw(drawing())).content


async def test_a_server_that_ignores_our_ids_is_refused(comfyui: ComfyUI, painter: RunningPainter) -> None:
    painter.fault(Mode.SUBMIT_OTHER_ID)
    asked = drawing()
    with pytest.raises(Rejected, match="too old"):
        await comfyui.draw(asked)


async def test_after_a_refusal_the_models_are_asked_for_anew(
    painter: RunningPainter, comfyui: ComfyUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    await comfyui.draw(drawing())
    asked: list[list[str]] = []
    real = comfyui._discovery._asked

    async def descriptions(names: list[str]) -> dict[str, Any]:
        asked.append(names)
        return await real(names)

    monkeypatch.setattr(comfyui._discovery, "_asked", descriptions)
    await comfyui.draw(drawing())
    assert asked == []
    painter.fault(Mode.MISSING_MODEL)
    with pytest.raises(Rejected):
        await comfyui.draw(drawing())
    assert "CheckpointLoaderSimple" in asked[0]
    assert painter.painter.faults.listed() == [], "sent once, for nothing had changed"
