"""Two servers behind a load balancer do not know each other's jobs: each call ends nevertheless."""

from collections.abc import Iterator

import pytest

from huajuan.inference_client import ClientLimits, ComfyUI, Drawing, Drawn, InferenceError
from tests.inference_client.balancer import balanced
from tests.inference_client.conftest import RunningDemo, drawing, limits

MEAN = limits(idle_connection_seconds_max=0.0)  # each request makes a new connection
KIND = limits(idle_connection_seconds_max=60.0)


@pytest.fixture
def second() -> Iterator[RunningDemo]:
    running = RunningDemo()
    yield running
    running.close()


async def end_of(comfyui: ComfyUI, asked: Drawing) -> Drawn | InferenceError:
    try:
        return await comfyui.draw(asked)
    except InferenceError as error:
        return error


@pytest.mark.parametrize("patience", [MEAN, KIND], ids=["request", "connection"])
async def test_each_call_ends_and_what_it_drew_is_whole(
    server: RunningDemo, second: RunningDemo, patience: ClientLimits
) -> None:
    async with balanced(server.url, second.url) as url, ComfyUI(url, limits=patience) as comfyui:
        for _ in range(6):
            asked = drawing()
            ended = await end_of(comfyui, asked)
            assert isinstance(ended, InferenceError) or ended.content
            assert server.runs(asked) + second.runs(asked) <= 2
