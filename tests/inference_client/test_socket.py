"""Faults of the websocket lose no job."""

import asyncio

import pytest
from structlog.testing import capture_logs

from huajuan.demo_comfyui.faults import Mode
from huajuan.inference_client import ComfyUI, JobState
from huajuan.inference_client.client import socket_url
from huajuan.inference_client.socket import JobWatches, SocketEvent
from tests.inference_client.conftest import FAST, RunningDemo, begun, drawing, limits


@pytest.mark.parametrize(
    "mode",
    [
        Mode.SOCKET_REFUSED,
        Mode.SOCKET_CLOSED,
        Mode.SOCKET_DEAF,
        Mode.SOCKET_FROZEN,
        Mode.SOCKET_HUGE_FRAME,
        Mode.SOCKET_NOISE,
    ],
)
async def test_a_faulty_socket_does_not_lose_the_picture(server: RunningDemo, mode: Mode) -> None:
    server.slow_down(0.02)
    server.fault(mode, times=None, seconds=2.0)
    async with ComfyUI(server.url, limits=limits(socket_frame_bytes_max=1024 * 1024)) as comfyui:
        told: list[float] = []
        assert (await comfyui.draw(drawing(), told.append)).content
        assert (await comfyui.draw(drawing())).content
    assert told == sorted(told)


async def test_a_frame_within_the_limit_is_accepted(server: RunningDemo) -> None:
    server.slow_down(0.02)
    server.fault(Mode.SOCKET_HUGE_FRAME, seconds=3.0)
    async with ComfyUI(server.url, limits=FAST) as comfyui:
        told: list[float] = []
        await comfyui.draw(drawing(steps=15), told.append)
    assert any(0 < fraction < 1 for fraction in told)


async def test_events_of_other_jobs_are_not_ours(server: RunningDemo, comfyui: ComfyUI) -> None:
    server.slow_down(0.02)
    server.fault(Mode.SOCKET_NOISE, times=None)
    told: list[float] = []
    await comfyui.draw(drawing(steps=4), told.append)
    assert told[0] < 0.9


async def test_a_silent_socket_is_reopened_during_a_long_job(server: RunningDemo) -> None:
    server.slow_down(0.06)
    server.fault(Mode.SOCKET_DEAF)
    async with ComfyUI(server.url, limits=limits(socket_silent_seconds_max=0.15)) as comfyui:
        told: list[float] = []
        await comfyui.draw(drawing(steps=20), told.append)
    assert any(0 < fraction < 1 for fraction in told)


async def test_a_silent_socket_is_reopened_after_short_jobs(server: RunningDemo) -> None:
    server.slow_down(0.02)
    server.fault(Mode.SOCKET_DEAF)
    async with ComfyUI(server.url, limits=limits(socket_unheard_jobs_max=2)) as comfyui:
        for _ in range(2):
            deaf: list[float] = []
            await comfyui.draw(drawing(), deaf.append)
            assert deaf == [1.0]
        on_listening = await asyncio.wait_for(_heard(comfyui), 10)
    assert any(0 < fraction < 1 for fraction in on_listening)


async def _heard(comfyui: ComfyUI) -> list[float]:
    while True:
        told: list[float] = []
        await comfyui.draw(drawing(steps=15), told.append)
        if len(told) > 1:
            return told


async def test_a_socket_that_breaks_is_connected_again(server: RunningDemo, comfyui: ComfyUI) -> None:
    server.slow_down(0.05)
    drawn = await begun(comfyui, drawing(steps=12), JobState.RUNNING)
    before = comfyui._listener._socket
    assert before is not None
    before.transport.abort()
    await drawn
    after = comfyui._listener._socket
    assert after is not None
    assert after is not before


@pytest.mark.parametrize("mode", [Mode.SOCKET_REFUSED, Mode.SOCKET_CLOSED])
async def test_reconnections_are_paused(server: RunningDemo, comfyui: ComfyUI, mode: Mode) -> None:
    server.slow_down(0.1)
    server.fault(mode, times=None)
    began = asyncio.get_running_loop().time()
    with capture_logs() as logs:
        assert (await comfyui.draw(drawing(steps=15))).content
    seconds = asyncio.get_running_loop().time() - began
    attempts = [line for line in logs if line["event"] == "the ComfyUI socket is not connected"]
    assert 2 <= len(attempts) <= 2 + seconds / FAST.socket_retry_seconds_max


async def test_the_socket_is_closed_with_the_client(server: RunningDemo) -> None:
    async with ComfyUI(server.url, limits=FAST) as comfyui:
        await comfyui.draw(drawing())
        assert len(server.demo.hub._sockets) == 1
    await asyncio.sleep(0.1)
    assert server.demo.hub._sockets == {}


async def test_lookups_open_no_socket(server: RunningDemo, comfyui: ComfyUI) -> None:
    await comfyui.find(drawing().prompt_id)
    await comfyui.check()
    assert server.demo.hub._sockets == {}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://gpu:8188", "ws://gpu:8188/ws?clientId=me"),
        ("https://gpu.example/comfy", "wss://gpu.example/comfy/ws?clientId=me"),
    ],
)
def test_the_socket_url(url: str, expected: str) -> None:
    assert socket_url(url, "me") == expected


@pytest.mark.parametrize(
    "data", [{"value": 1, "max": 0}, {"value": "x", "max": 2}, {"value": float("nan"), "max": 1}, {}]
)
def test_invalid_progress_is_ignored(data: dict[str, object]) -> None:
    asked = drawing()
    watches = JobWatches(1)
    with watches.watch(asked.prompt_id) as watch:
        watches.record(SocketEvent("progress", data | {"prompt_id": str(asked.prompt_id)}))
        assert watch.event_at is not None
        assert watch.progress == 0.0


def test_only_the_sampler_reports_progress() -> None:
    asked = drawing()
    watches = JobWatches(1)
    with watches.watch(asked.prompt_id) as watch:
        watch.set_progress_nodes(frozenset({"3"}))
        for node, value in (("upscale", 10), ("3", 4), ("3", 2)):
            data = {"node": node, "value": value, "max": 10, "prompt_id": str(asked.prompt_id)}
            watches.record(SocketEvent("progress", data))
        assert watch.progress == 0.4


def test_events_reach_the_watches_of_their_own_job() -> None:
    ours, theirs = drawing(), drawing()
    watches = JobWatches(2)
    with watches.watch(ours.prompt_id) as own, watches.watch(theirs.prompt_id) as other:
        watches.record(SocketEvent("execution_success", {"prompt_id": str(theirs.prompt_id)}))
        watches.record(SocketEvent("executing", {"node": None}))
        assert (own.event_at, own.may_have_ended) == (None, False)
        assert (other.event_at is not None, other.may_have_ended) == (True, True)
    assert not watches
