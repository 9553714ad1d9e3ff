"""A fake client of an inference server, in memory, controlled by the test."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from PIL import Image

from huajuan.inference_client import (
    ComfyUI,
    Drawing,
    Drawn,
    Graph,
    InferenceError,
    JobLost,
    JobState,
    ServerInfo,
    ServerUnavailable,
    WorkflowRejected,
)
from huajuan.inference_client.client import OnAccepted
from huajuan.inference_client.results import OnProgress
from huajuan.jobs.queue import DispatchLimits
from huajuan.jobs.servers import ServerPool


def png(width: int, height: int) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(made, "PNG")
    return made.getvalue()


class FakeInferenceServer(ComfyUI):
    """`failures` are raised one per call of `draw` or `finish`. `gate` holds back every drawing."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.drawn: list[Drawing] = []
        self.cancelled: list[UUID] = []
        self.forgotten: list[UUID] = []
        self.finished: list[Drawing] = []
        self.problems: list[str] = []
        self.known: dict[UUID, JobState] = {}

    async def draw(
        self,
        drawing: Drawing,
        on_progress: OnProgress | None = None,
        on_accepted: OnAccepted | None = None,
    ) -> Drawn:
        if on_accepted and not isinstance(next(iter(self.failures), None), WorkflowRejected):
            await on_accepted()
        self.known[drawing.prompt_id] = JobState.RUNNING
        self.drawn.append(drawing)
        return await self._answer(drawing)

    async def finish(self, drawing: Drawing, on_progress: OnProgress | None = None) -> Drawn:
        if drawing.prompt_id not in self.known:
            raise JobLost("the server no longer knows the job")
        self.finished.append(drawing)
        return await self._answer(drawing)

    async def find(self, prompt_id: UUID) -> JobState:
        return self.known.get(prompt_id, JobState.UNKNOWN)

    async def cancel(self, prompt_id: UUID) -> None:
        self.cancelled.append(prompt_id)

    async def forget(self, prompt_id: UUID) -> None:
        self.forgotten.append(prompt_id)

    async def check(self) -> ServerInfo:
        return ServerInfo("fake 1.0", is_demo=False)

    async def check_compatibility(self, workflow: Graph) -> list[str]:
        return self.problems

    async def _answer(self, drawing: Drawing) -> Drawn:
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.known[drawing.prompt_id] = JobState.SUCCEEDED
        return Drawn(
            png(drawing.width, drawing.height), drawing.checkpoint or "first.safetensors", "fake 1.0"
        )


class FailingServer(FakeInferenceServer):
    """Reachable; fails in every job and forgets it."""

    def __init__(self, error: InferenceError) -> None:
        super().__init__()
        self.error = error

    async def draw(
        self,
        drawing: Drawing,
        on_progress: OnProgress | None = None,
        on_accepted: OnAccepted | None = None,
    ) -> Drawn:
        self.drawn.append(drawing)
        raise self.error


class UnreachableServer(FakeInferenceServer):
    """Raises its error at every request."""

    def __init__(self, error: InferenceError) -> None:
        super().__init__()
        self.error = error

    async def draw(
        self,
        drawing: Drawing,
        on_progress: OnProgress | None = None,
        on_accepted: OnAccepted | None = None,
    ) -> Drawn:
        raise self.error

    async def check(self) -> ServerInfo:
        raise self.error

    async def check_compatibility(self, workflow: Graph) -> list[str]:
        raise ServerUnavailable("down")

    async def find(self, prompt_id: UUID) -> JobState:
        raise self.error


class VanishedServer(UnreachableServer):
    """Reachable at the first check only."""

    async def check(self) -> ServerInfo:
        if not self.known:
            self.known[UUID(int=0)] = JobState.UNKNOWN
            return ServerInfo("fake 1.0", is_demo=False)
        raise self.error


@asynccontextmanager
async def server_pool_of(
    hosts: dict[str, FakeInferenceServer], limits: DispatchLimits
) -> AsyncIterator[ServerPool]:
    """A pool of these servers. Servers added later are fake as well."""

    @asynccontextmanager
    async def open_host(url: str) -> AsyncIterator[FakeInferenceServer]:
        yield hosts.setdefault(url, FakeInferenceServer())

    servers = ServerPool(open_host, limits, hosts)
    await servers.update(servers.configured)
    yield servers
    await servers.close()


def opening(*hosts: FakeInferenceServer) -> Any:
    """The replacement of `open_server_pool`."""

    @asynccontextmanager
    async def open_server_pool(_: Any, __: Any, limits: DispatchLimits) -> AsyncIterator[ServerPool]:
        async with server_pool_of(
            {f"http://fake-{number}": host for number, host in enumerate(hosts)}, limits
        ) as servers:
            yield servers

    return open_server_pool
