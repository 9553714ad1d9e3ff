"""A demo server per module, over HTTP, reset before every test."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from uuid import uuid4

import httpx
import msgspec
import pytest

from huajuan.demo_comfyui.__main__ import DemoUvicorn, listening_socket, uvicorn_server
from huajuan.demo_comfyui.faults import Faults, Mode
from huajuan.demo_comfyui.server import DemoServer
from huajuan.inference_client import ClientLimits, ComfyUI, Drawing, Drawn, JobState
from tests.loopback import NO_TLS

FAST = ClientLimits(
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


class RunningDemo:
    """A demo server in a thread. Faults are set directly; it is reset over HTTP."""

    def __init__(self, port: int = 0) -> None:
        self.demo = DemoServer(faults=Faults(enabled=True))
        self._server: DemoUvicorn = uvicorn_server(self.demo)
        self._listening = listening_socket("127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=10.0, verify=NO_TLS)
        self._thread = threading.Thread(target=self._serve, name="server")
        self._thread.start()

    def _serve(self) -> None:
        asyncio.run(self._server.serve([self._listening]))

    def reset(self) -> None:
        self.demo.step_seconds = 0.0
        self.http.post("/demo/restart").raise_for_status()

    def slow_down(self, step_seconds: float) -> None:
        self.demo.worker.step_seconds = step_seconds

    def fault(self, mode: Mode, *, times: int | None = 1, seconds: float = 5.0) -> None:
        self.demo.faults.set(mode, times=times, seconds=seconds)

    def runs(self, drawing: Drawing) -> int:
        return self.demo.jobs.runs[str(drawing.prompt_id)]

    def close(self) -> None:
        self.http.close()
        self._server.stop()
        self._thread.join(10)
        self._listening.close()


@pytest.fixture(scope="module")
def running_demo() -> Iterator[RunningDemo]:
    running = RunningDemo()
    yield running
    running.close()


@pytest.fixture
def server(running_demo: RunningDemo) -> RunningDemo:
    running_demo.reset()
    return running_demo


@pytest.fixture
async def comfyui(server: RunningDemo) -> AsyncIterator[ComfyUI]:
    async with ComfyUI(server.url, limits=FAST) as client:
        yield client


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition, at most some seconds."""
    for _ in range(1000):
        if await happened():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not happen")


async def begun(comfyui: ComfyUI, asked: Drawing, state: JobState) -> asyncio.Task[Drawn]:
    """A running `draw` whose job has reached a state."""
    drawn = asyncio.create_task(comfyui.draw(asked))

    async def is_there() -> bool:
        return await comfyui.find(asked.prompt_id) is state

    await until(is_there)
    return drawn


def limits(**changes: object) -> ClientLimits:
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
