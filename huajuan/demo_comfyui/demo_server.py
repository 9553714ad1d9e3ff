"""One painter: its queue, worker, sockets and files, held together."""

import asyncio

from litestar.di import NamedDependency

from huajuan.demo_comfyui.faults import Faults
from huajuan.demo_comfyui.files import Files
from huajuan.demo_comfyui.jobs import JobList
from huajuan.demo_comfyui.nodes import Stock
from huajuan.demo_comfyui.sockets import Hub
from huajuan.demo_comfyui.worker import Worker


class Painter:
    """One painter: queue, worker, sockets, files and the faults asked for."""

    def __init__(self, *, step_seconds: float = 0.0, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.step_seconds = step_seconds
        self.hidden_until: dict[str, float] = {}
        self.files = Files()
        self.stock = Stock()
        self.jobs = JobList()
        self.hub = Hub(self.jobs, self.faults)
        self.worker = Worker(self.jobs, self.hub, self.files, self.faults, step_seconds)
        self._task: asyncio.Task[None] | None = None

    async def restart(self) -> None:
        """Lose everything held in memory, as a killed and restarted process does."""
        await self.stop()
        self.jobs.forget_all()
        self.jobs.runs.clear()
        self.jobs.resent.clear()
        self.hidden_until.clear()
        self.stock = Stock()
        self.worker = Worker(self.jobs, self.hub, self.files, self.faults, self.step_seconds)
        self.start()

    def start(self) -> None:
        self._task = asyncio.create_task(self.worker.run(), name="painter")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


Here = NamedDependency[Painter]
