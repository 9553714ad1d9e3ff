"""Two servers behind one name know nothing of each other's jobs: the client still comes to an end, and says which."""

from collections.abc import Iterator

import pytest

from huajuan.inference_client import ComfyUI, Drawing, Drawn, InferenceError, Limits
from tests.inference_client.balancer import balanced
from tests.inference_client.conftest import RunningPainter, drawing, limits

MEAN = limits(idle_connection_seconds_max=0.0)  # each request makes a new connection
KIND = limits(idle_connection_seconds_max=60.0)


@pytest.fixture
def second() -> Iterator[RunningPainter]:
    running = RunningPainter()
    yield running
    running.close()


async def end_of(comfyui: ComfyUI, asked: Drawing) -> Drawn | InferenceError:
    try:
        return await comfyui.draw(asked)
    except InferenceError as error:
        return error


@pytest.mark.parametrize("patience", [MEAN, KIND], ids=["request", "connection"])
async def test_each_call_ends_and_what_it_drew_is_whole(
    painter: RunningPainter, second: RunningPainter, patience: Limits
) -> None:
    async with balanced(painter.url, second.url) as url, ComfyUI(url, limits=patience) as comfyui:
        for _ in range(6):
            asked = drawing()
            ended = await end_of(comfyui, asked)
            assert isinstance(ended, InferenceError) or ended.content
            assert painter.runs(asked) + second.runs(asked) <= 2
