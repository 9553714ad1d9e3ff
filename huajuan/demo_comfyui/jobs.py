"""Queue and history in memory (the smallest number runs first), and the websockets that get the events."""

import asyncio
import heapq
import time
from collections import Counter
from typing import Any
from uuid import uuid4

import msgspec
from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect

from huajuan.demo_comfyui.faults import Faults, Mode

HISTORY_JOBS_MAX = 1000
QUEUE_JOBS_MAX = 10_000
QUEUED_FRAMES_MAX = 1000
PING_TIMED_OUT = 1011
BODY_BYTES_MAX = 100 * 1024 * 1024
FEATURES = {"supports_preview_metadata": True, "max_upload_size": BODY_BYTES_MAX}
Frame = str | bytes


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
        status: dict[str, Any] = {"status_str": "success" if succeeded else "error", "completed": succeeded}
        status |= {"messages": self.messages}
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
        """Raises `TypeError` for the same id and number twice, although it is queued, as in ComfyUI."""
        if len(self.pending) >= QUEUE_JOBS_MAX:
            raise OverflowError("the queue is full")
        if self.find(job.prompt_id):
            self.resent[job.prompt_id] += 1
        is_duplicate = (job.number, job.prompt_id) in {(number, name) for number, name, *_ in self.pending}
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


class SocketHub:
    """Sends job events to the socket of the job's client id, and queue changes to all sockets."""

    def __init__(self, jobs: JobList, faults: Faults) -> None:
        self._jobs = jobs
        self._faults = faults
        self._sockets: dict[str, asyncio.Queue[Frame]] = {}

    def send(self, kind: str, data: dict[str, Any], client_id: str | None = None) -> None:
        for name in list(self._sockets) if client_id is None else [client_id]:
            self._put(name, _text(kind, data))

    def send_noise(self, client_id: str | None) -> None:
        """Send frames that a client must ignore: previews, events of other jobs or of none, invalid JSON."""
        other = {"prompt_id": str(uuid4()), "value": 9, "max": 9, "node": "sampler"}
        events = ("progress", other), ("executing", {"node": None}), ("execution_success", other)
        frames: list[Frame] = ["no json", "[]", b"\x00\x00\x00\x01\x00\x00\x00\x01jpeg"]
        for frame in [*frames, *(_text(kind, data) for kind, data in events)]:
            self._put(client_id or "", frame)

    def broadcast_status(self) -> None:
        self.send("status", self._status())

    async def serve(self, socket: WebSocket[Any, Any, Any]) -> None:
        """Serve one connection until it is closed."""
        if (fault := self._faults.take(Mode.SOCKET_FROZEN)) is not None:
            await asyncio.sleep(fault.seconds)
        if self._faults.takes(Mode.SOCKET_REFUSED):
            await socket.close()
            return
        await socket.accept()
        if self._faults.takes(Mode.SOCKET_CLOSED):
            await socket.close(code=PING_TIMED_OUT)
            return
        name = socket.query_params.get("clientId") or uuid4().hex
        outbox: asyncio.Queue[Frame] = asyncio.Queue(QUEUED_FRAMES_MAX)
        self._register(name, outbox)
        sender = asyncio.create_task(_send_all(socket, outbox))
        try:
            await self._read(socket, outbox)
        finally:
            # By name, as in ComfyUI: a newer connection of the same name gets no events any more either.
            self._sockets.pop(name, None)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    def _register(self, name: str, outbox: asyncio.Queue[Frame]) -> None:
        outbox.put_nowait(_text("status", self._status() | {"sid": name}))
        if (fault := self._faults.take(Mode.SOCKET_HUGE_FRAME)) is not None:
            outbox.put_nowait(bytes(int(fault.seconds * 1024 * 1024)))
        if not self._faults.takes(Mode.SOCKET_DEAF):
            self._sockets[name] = outbox

    async def _read(self, socket: WebSocket[Any, Any, Any], outbox: asyncio.Queue[Frame]) -> None:
        is_first = True
        while True:
            try:
                message = await socket.receive_data(mode="text")
            except WebSocketDisconnect:
                return
            if is_first and "feature_flags" in str(message):
                outbox.put_nowait(_text("feature_flags", FEATURES))
            is_first = False

    def _status(self) -> dict[str, Any]:
        return {"status": {"exec_info": {"queue_remaining": self._jobs.remaining()}}}

    def _put(self, name: str, frame: Frame) -> None:
        outbox = self._sockets.get(name)
        if outbox is None:
            return
        try:
            outbox.put_nowait(frame)
        except asyncio.QueueFull:
            del self._sockets[name]


async def _send_all(socket: WebSocket[Any, Any, Any], outbox: asyncio.Queue[Frame]) -> None:
    while True:
        frame = await outbox.get()
        await socket.send_data(frame, mode="text" if isinstance(frame, str) else "binary")


def _text(kind: str, data: dict[str, Any]) -> str:
    return msgspec.json.encode({"type": kind, "data": data}).decode()
