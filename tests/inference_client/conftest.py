"""One painter a module, over real HTTP, with its faults and memory wiped before every test."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from uuid import uuid4

import httpx
import msgspec
import pytest

from huajuan.demo_comfyui.__main__ import Server, listening_socket, server
from huajuan.demo_comfyui.demo_server import Painter
from huajuan.demo_comfyui.faults import Faults, Mode
from huajuan.inference_client import ComfyUI, Drawing, Drawn, JobState, Limits
from tests.loopback import NO_TLS

FAST = Limits(
    connect_seconds_max=2.0,
    read_seconds_max=2.0,
    request_seconds_max=3.0,
    picture_seconds_max=3.0,
    retry_seconds=0.03,
    poll_seconds_min=0.02,
    poll_seconds_max=0.1,
    history_seconds_max=0.5,
    lost_seconds_max=0.25,
    unreachable_seconds_max=0.4,
    cancel_seconds_max=0.5,
    job_seconds_max=10.0,
    socket_retry_seconds_min=0.05,
    socket_retry_seconds_max=0.2,
    socket_head_start_seconds_max=0.3,
)


class RunningPainter:
    """A painter served by a thread of its own; faults are set directly, memory is wiped over HTTP."""

    def __init__(self, port: int = 0) -> None:
        self.painter = Painter(faults=Faults(enabled=True))
        self._server: Server = server(self.painter)
        self._listening = listening_socket("127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=10.0, verify=NO_TLS)
        self._thread = threading.Thread(target=self._serve, name="painter")
        self._thread.start()

    def _serve(self) -> None:
        asyncio.run(self._server.serve([self._listening]))

    def reset(self) -> None:
        self.painter.step_seconds = 0.0
        self.http.post("/demo/restart").raise_for_status()

    def slow_down(self, step_seconds: float) -> None:
        self.painter.worker.step_seconds = step_seconds

    def fault(self, mode: Mode, *, times: int | None = 1, seconds: float = 5.0) -> None:
        self.painter.faults.set(mode, times=times, seconds=seconds)

    def runs(self, drawing: Drawing) -> int:
        return self.painter.jobs.runs[str(drawing.prompt_id)]

    def close(self) -> None:
        self.http.close()
        self._server.stop()
        self._thread.join(10)
        self._listening.close()


@pytest.fixture(scope="module")
def running_painter() -> Iterator[RunningPainter]:
    running = RunningPainter()
    yield running
    running.close()


@pytest.fixture
def painter(running_painter: RunningPainter) -> RunningPainter:
    running_painter.reset()
    return running_painter


@pytest.fixture
async def comfyui(painter: RunningPainter) -> AsyncIterator[ComfyUI]:
    async with ComfyUI(painter.url, limits=FAST) as client:
        yield client


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something to happen, some seconds at most."""
    for _ in range(1000):
        if await happened():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not happen")


async def begun(comfyui: ComfyUI, asked: Drawing, state: JobState) -> asyncio.Task[Drawn]:
    """A drawing under way, once its job has got to a state."""
    drawn = asyncio.create_task(comfyui.draw(asked))

    async def is_there() -> bool:
        return await comfyui.find(asked.prompt_id) is state

    await until(is_there)
    return drawn


def limits(**changes: object) -> Limits:
    return msgspec.structs.replace(FAST, **changes)


def drawing(**changes: object) -> Drawing:
    usual = Drawing(
        prompt_id=uuid4(),
        prompt="moon over a lake",
        width=48,
        height=48,
        steps=3,
        sampling_method="DDIM",
        noise_seed=7,
    )
    return msgspec.structs.replace(usual, **changes)
