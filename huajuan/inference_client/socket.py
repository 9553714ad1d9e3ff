"""The websocket of a client: reads events of jobs, reconnects with backoff, and is never relied upon."""

import asyncio
import contextlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any
from uuid import UUID

import msgspec
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidURI, WebSocketException

from huajuan.inference_client.errors import ServerUnavailable
from huajuan.inference_client.models import ClientLimits
from huajuan.inference_client.transport import parse_address

# The server accepts it only as the first message of a connection.
FEATURE_FLAGS = '{"type": "feature_flags", "data": {"supports_preview_metadata": true}}'
LAST_EVENTS = frozenset({"execution_success", "execution_error", "execution_interrupted"})

_logger = structlog.get_logger(__name__)


class SocketEvent(msgspec.Struct, frozen=True):
    """A text frame of the socket."""

    type: str
    data: dict[str, Any] = msgspec.field(default_factory=dict)


class JobWatch:
    """The events of one job, for its poller. The socket's reader only stores them here."""

    def __init__(self) -> None:
        self._sampler_nodes: frozenset[str] = frozenset()
        self.changed = asyncio.Event()
        self.progress = 0.0
        self.may_have_ended = False
        self.is_cancelled = False
        self.event_at: float | None = None
        self.progressed_at: float | None = None

    def set_progress_nodes(self, sampler_nodes: frozenset[str]) -> None:
        """Use the progress of these nodes alone, if there are any: other nodes report progress too."""
        self._sampler_nodes = sampler_nodes

    def record(self, event: SocketEvent) -> None:
        self.event_at = monotonic()
        if event.type in {"progress", "progress_state", "executing", "executed"}:
            self.progressed_at = self.event_at
        counts = not self._sampler_nodes or event.data.get("node") in self._sampler_nodes
        if event.type == "progress" and counts:
            self.progress = max(self.progress, _fraction(event.data.get("value"), event.data.get("max")))
        if event.type in LAST_EVENTS or (event.type == "executing" and event.data.get("node") is None):
            self.may_have_ended = True
        self.changed.set()

    def mark_cancelled(self) -> None:
        self.is_cancelled = self.may_have_ended = True
        self.changed.set()

    def must_stop(self) -> bool:
        """Whether the job was cancelled. It may change at each await."""
        return self.is_cancelled


class JobWatches:
    """The watched jobs of one socket. `progressed_at` is when any of them last progressed."""

    def __init__(self, jobs_max: int) -> None:
        self._jobs_max = jobs_max
        self._by_job: dict[str, list[JobWatch]] = {}
        self.progressed_at = float("-inf")

    @contextmanager
    def watch(self, prompt_id: UUID) -> Iterator[JobWatch]:
        """Watch a job during the block. Raises `ServerUnavailable` if too many jobs are watched."""
        if sum(map(len, self._by_job.values())) >= self._jobs_max:
            raise ServerUnavailable("too many pictures are being drawn")
        watch = JobWatch()
        self._by_job.setdefault(str(prompt_id), []).append(watch)
        try:
            yield watch
        finally:
            self._by_job[str(prompt_id)].remove(watch)
            if not self._by_job[str(prompt_id)]:
                del self._by_job[str(prompt_id)]

    def record(self, event: SocketEvent) -> None:
        """Store an event with its job. Events without a watched job are dropped."""
        prompt_id = event.data.get("prompt_id")
        for watch in self._by_job.get(prompt_id, ()) if isinstance(prompt_id, str) else ():
            watch.record(event)
            self.progressed_at = max(self.progressed_at, watch.progressed_at or self.progressed_at)

    def mark_cancelled(self, prompt_id: UUID) -> None:
        for watch in self._by_job.get(str(prompt_id), ()):
            watch.mark_cancelled()

    def __bool__(self) -> bool:
        return bool(self._by_job)


class SocketListener:
    """Reads the events of `watches`. Connects at the first `wake`, and is idle without watched jobs."""

    def __init__(self, url: str, limits: ClientLimits) -> None:
        self._address, self._limits = parse_address(url), limits
        self.watches = JobWatches(limits.jobs_watched_max)
        self._wanted, self._attempted = asyncio.Event(), asyncio.Event()
        self._socket: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._silent_jobs = 0

    @property
    def is_connected(self) -> bool:
        return self._socket is not None

    def wake(self) -> None:
        """Open the socket if it is not open."""
        self._wanted.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="ComfyUI socket")

    async def wait_for_connection(self) -> None:
        """Wait briefly until the first attempt to connect has succeeded or failed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.socket_head_start_seconds_max):
                await self._attempted.wait()

    def renew(self) -> None:
        """Reopen the socket: the server may have stopped sending events to it."""
        if self._socket is not None and self._closing is None:
            _logger.info("ComfyUI socket without events, reconnecting")
            self._closing = asyncio.create_task(self._socket.close(), name="ComfyUI socket closing")

    def report_job(self, had_events: bool) -> None:
        """Report a job that should have had events. Several jobs without events reopen the socket."""
        self._silent_jobs = 0 if had_events else self._silent_jobs + 1
        if self._silent_jobs >= self._limits.socket_unheard_jobs_max:
            self._silent_jobs = 0
            self.renew()

    async def aclose(self) -> None:
        for task in filter(None, (self._task, self._closing)):
            task.cancel()
            await asyncio.wait({task})
        self._task = self._closing = None

    async def _run(self) -> None:
        pause = self._limits.socket_retry_seconds_min
        while True:
            await self._wanted.wait()
            started = monotonic()
            await self._listen_once()
            if not self.watches:
                self._wanted.clear()
            # A connection that breaks at once doubles the pause too: the server may accept and drop each one.
            was_useful = monotonic() - started > self._limits.socket_useful_seconds
            least, most = self._limits.socket_retry_seconds_min, self._limits.socket_retry_seconds_max
            pause = least if was_useful else min(most, pause * 2)
            await asyncio.sleep(pause)

    async def _listen_once(self) -> None:
        try:
            async with self._connection() as socket:
                await socket.send(FEATURE_FLAGS)
                self._socket = socket
                self._attempted.set()
                await self._drain(socket)
        except (OSError, TimeoutError, WebSocketException, InvalidURI) as problem:
            # The text of InvalidURI contains the address, which may have a token.
            detail = "" if isinstance(problem, InvalidURI) else f": {problem}"
            _logger.info("the ComfyUI socket is not connected", problem=f"{type(problem).__name__}{detail}")
        finally:
            self._socket = self._closing = None
            self._attempted.set()

    async def _drain(self, socket: ClientConnection) -> None:
        """Read without delay: a slow reader blocks the server's events to all clients."""
        async for frame in socket:
            if isinstance(frame, str) and len(frame) <= self._limits.socket_event_bytes_max:
                with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError, RecursionError):
                    self.watches.record(msgspec.json.decode(frame, type=SocketEvent))

    def _connection(self) -> connect:
        limits = self._limits
        return connect(
            f"{self._address.url}?{self._address.query}",
            additional_headers=self._address.headers,
            open_timeout=limits.socket_open_seconds_max,
            close_timeout=limits.socket_close_seconds_max,
            ping_interval=limits.socket_ping_seconds,
            ping_timeout=limits.socket_pong_seconds_max,
            max_size=limits.socket_frame_bytes_max,
            compression=None,
            proxy=None,
        )


def _fraction(value: Any, most: Any) -> float:
    try:
        part = float(value) / float(most)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return 0.0
    return min(1.0, max(0.0, part)) if math.isfinite(part) else 0.0
