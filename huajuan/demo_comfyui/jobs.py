"""Queue and history in memory. One job runs at a time, the one with the smallest number first."""

import asyncio
import heapq
import time
from collections import Counter
from typing import Any

import msgspec

HISTORY_JOBS_MAX = 1000
QUEUE_JOBS_MAX = 10_000


class Job(msgspec.Struct, eq=False):
    """One submitted prompt, with its times and outputs."""

    number: float
    prompt_id: str
    graph: dict[str, Any]
    extra_data: dict[str, Any]
    outputs_wanted: list[str]
    created: int
    outputs: dict[str, Any] = {}
    messages: list[tuple[str, dict[str, Any]]] = []
    status: str = "pending"
    started: int | None = None
    ended: int | None = None
    stop: asyncio.Event = msgspec.field(default_factory=asyncio.Event)

    @property
    def client_id(self) -> str | None:
        return self.extra_data.get("client_id")

    def item(self) -> list[Any]:
        """As /queue and /history show it."""
        return [self.number, self.prompt_id, self.graph, self.extra_data, self.outputs_wanted]

    def entry(self) -> dict[str, Any]:
        """As /history shows it."""
        succeeded = self.status == "completed"
        status = {
            "status_str": "success" if succeeded else "error",
            "completed": succeeded,
            "messages": self.messages,
        }
        return {"prompt": self.item(), "outputs": self.outputs, "status": status, "meta": {}}

    def summary(self) -> dict[str, Any]:
        """As /api/jobs shows it."""
        events = dict(self.messages)
        return {
            "id": self.prompt_id,
            "status": self.status,
            "priority": self.number,
            "create_time": self.created,
            "execution_start_time": self.started,
            "execution_end_time": self.ended,
            "outputs_count": len(self.outputs),
            "execution_error": events.get("execution_error"),
        }

    def details(self) -> dict[str, Any]:
        """As /api/jobs/{id} shows it."""
        workflow = {"prompt": self.graph, "extra_data": self.extra_data}
        return self.summary() | {"outputs": self.outputs, "execution_status": {}, "workflow": workflow}


class JobList:
    """Pending jobs as a heap, at most one running, and the ended ones."""

    def __init__(self) -> None:
        self.pending: list[tuple[float, str, int, Job]] = []
        self.running: Job | None = None
        self.ended: dict[str, Job] = {}
        self.runs: Counter[str] = Counter()
        self.resent: Counter[str] = Counter()
        self._counter = 0
        self._posted = 0
        self._filled = asyncio.Event()

    def next_number(self) -> int:
        number, self._counter = self._counter, self._counter + 1
        return number

    def put(self, job: Job) -> None:
        """Queue a job.

        Raises `TypeError` for the same id and number twice, although it is queued, as in ComfyUI.
        """
        if len(self.pending) >= QUEUE_JOBS_MAX:
            raise OverflowError("the queue is full")
        if self.find(job.prompt_id):
            self.resent[job.prompt_id] += 1
        is_duplicate = any(
            number == job.number and name == job.prompt_id for number, name, *_ in self.pending
        )
        self._posted += 1
        heapq.heappush(self.pending, (job.number, job.prompt_id, self._posted, job))
        self._filled.set()
        if is_duplicate:
            raise TypeError("jobs cannot be ordered")

    async def next(self) -> Job:
        while not self.pending:
            self._filled.clear()
            await self._filled.wait()
        job = self.running = heapq.heappop(self.pending)[-1]
        job.status, job.started = "in_progress", now_ms()
        self.runs[job.prompt_id] += 1
        return job

    def end(self, job: Job) -> None:
        self.running = None
        job.ended = now_ms()
        self.ended.pop(job.prompt_id, None)
        self.ended[job.prompt_id] = job
        while len(self.ended) > HISTORY_JOBS_MAX:
            del self.ended[next(iter(self.ended))]

    def remaining(self) -> int:
        return len(self.pending) + (self.running is not None)

    def delete_pending(self, prompt_id: str) -> bool:
        """Remove the first match only, as ComfyUI does."""
        for place, (_, name, *_) in enumerate(self.pending):
            if name == prompt_id:
                del self.pending[place]
                heapq.heapify(self.pending)
                return True
        return False

    def clear(self) -> None:
        """Discard everything, as a restart does."""
        self.pending.clear()
        self.ended.clear()
        self.running = None
        self._counter = 0

    def find(self, prompt_id: str) -> Job | None:
        if self.running is not None and self.running.prompt_id == prompt_id:
            return self.running
        queued = next((job for *_, job in self.pending if job.prompt_id == prompt_id), None)
        return queued or self.ended.get(prompt_id)

    def all(self) -> list[Job]:
        running = [self.running] if self.running is not None else []
        return [*(job for *_, job in sorted(self.pending)), *running, *self.ended.values()]


def now_ms() -> int:
    return time.time_ns() // 1_000_000
