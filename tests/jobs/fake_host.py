"""A server that draws, in memory, and does what a test tells it to."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from PIL import Image

from huajuan.inference_client import (
    Drawing,
    Drawn,
    Graph,
    InferenceError,
    JobLost,
    JobState,
    Rejected,
    ServerUnavailable,
)
from huajuan.jobs.limits import DispatchLimits
from huajuan.jobs.servers import OnAccepted, OnProgress, Painters


def png(width: int, height: int) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(made, "PNG")
    return made.getvalue()


class FakeHost:
    """`failures` are raised one a call, first for `draw` and `finish` alike; `gate` holds every drawing."""

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
        if on_accepted and not isinstance(next(iter(self.failures), None), Rejected):
            await on_accepted()
        self.known[drawing.prompt_id] = JobState.RUNNING
        self.drawn.append(drawing)
        return await self._answer(drawing)

    async def finish(self, drawing: Drawing, on_progress: OnProgress | None = None) -> Drawn:
        if drawing.prompt_id not in self.known:
            raise JobLost("the painter no longer knows the job")
        self.finished.append(drawing)
        return await self._answer(drawing)

    async def find(self, prompt_id: UUID) -> JobState:
        return self.known.get(prompt_id, JobState.UNKNOWN)

    async def cancel(self, prompt_id: UUID) -> None:
        self.cancelled.append(prompt_id)

    async def forget(self, prompt_id: UUID) -> None:
        self.forgotten.append(prompt_id)

    async def check(self) -> None:
        """It is there."""

    async def misfits(self, workflow: Graph) -> list[str]:
        return self.problems

    async def _answer(self, drawing: Drawing) -> Drawn:
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.known[drawing.prompt_id] = JobState.SUCCEEDED
        return Drawn(
            png(drawing.width, drawing.height), drawing.checkpoint or "first.safetensors", "fake 1.0"
        )


class Failing(FakeHost):
    """Answers, and fails in every job, of which it knows nothing afterwards."""

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


class Unreachable(FakeHost):
    """Answers nothing at all."""

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

    async def check(self) -> None:
        raise self.error

    async def misfits(self, workflow: Graph) -> list[str]:
        raise ServerUnavailable("down")

    async def find(self, prompt_id: UUID) -> JobState:
        raise self.error


class Vanished(Unreachable):
    """Was there when it was first asked, and answers nothing any more."""

    async def check(self) -> None:
        if not self.known:
            self.known[UUID(int=0)] = JobState.UNKNOWN
        else:
            raise self.error


@asynccontextmanager
async def painters_of(hosts: dict[str, FakeHost], limits: DispatchLimits) -> AsyncIterator[Painters]:
    """These hosts draw; one that is added later does so as well."""

    @asynccontextmanager
    async def open_host(url: str) -> AsyncIterator[FakeHost]:
        yield hosts.setdefault(url, FakeHost())

    painters = Painters(open_host, limits, hosts)
    await painters.become(painters.configured)
    yield painters
    await painters.close()


def opening(*hosts: FakeHost) -> Any:
    """What stands in for `open_painters`."""

    @asynccontextmanager
    async def open_painters(_: Any, __: Any, limits: DispatchLimits) -> AsyncIterator[Painters]:
        async with painters_of(
            {f"http://fake-{number}": host for number, host in enumerate(hosts)}, limits
        ) as painters:
            yield painters

    return open_painters
