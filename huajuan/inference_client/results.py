"""Polls a job until it has ended, and fetches its picture or raises its failure."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from time import monotonic
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from huajuan.inference_client.checks import picture_nodes
from huajuan.inference_client.errors import (
    DrawingFailed,
    InvalidPicture,
    JobCancelled,
    JobLost,
    JobTimeout,
    OutcomeUnknown,
    failure,
)
from huajuan.inference_client.fill import sent_size
from huajuan.inference_client.jobs import Jobs, JobState, final_state
from huajuan.inference_client.models import ClientLimits, Drawing, mapping
from huajuan.inference_client.picture import crop, verify
from huajuan.inference_client.placeholders import Graph
from huajuan.inference_client.socket import JobWatch, SocketListener
from huajuan.inference_client.transport import (
    NoUsableResponse,
    Response,
    ResponseTooLarge,
    Transport,
    TransportError,
)

OnProgress = Callable[[float], None]
POLL_GROWTH = 1.5
T = TypeVar("T")
SizeOf = Callable[[Drawing], Awaitable[tuple[int, int]]]
PictureFile = dict[str, str]
FILE_FIELDS = ("filename", "subfolder", "type")
# The prefix ends in `img`, and the server adds a number. Other nodes may save `img_pass1_00001_.png`.
_EXACT_NAME = re.compile(r"img_\d+_?\.[A-Za-z0-9]+")


class ConditionTimer:
    """For how many seconds a condition has held without interruption."""

    def __init__(self) -> None:
        self._since: float | None = None

    def seconds(self, holds: bool, now: float) -> float:
        if not holds:
            self._since = None
            return 0.0
        self._since = now if self._since is None else self._since
        return now - self._since


class JobPoller:
    """Polls one job that the server has, or may have."""

    def __init__(
        self,
        prompt_id: UUID,
        jobs: Jobs,
        listener: SocketListener,
        watch: JobWatch,
        limits: ClientLimits,
        on_progress: OnProgress | None,
    ) -> None:
        self._prompt_id = prompt_id
        self._jobs, self._listener, self._watch = jobs, listener, watch
        self._limits, self._on_progress = limits, on_progress
        self._remaining = 0
        self._started = self._queue_moved_at = monotonic()
        self._unreachable, self._missing, self._running = ConditionTimer(), ConditionTimer(), ConditionTimer()
        self._pause_seconds = limits.poll_seconds_min
        self._reported = 0.0
        self._renewals = 0

    async def wait_for_end(self) -> JobState:
        """The final state. Raises `JobLost`, `JobCancelled`, `JobTimeout` or `OutcomeUnknown`."""
        while True:
            state = await self._poll()
            if state is not None and state.has_ended:
                return state
            self._check_lost(state)
            if state is JobState.QUEUED:
                await self._poll_queue()
            if self._is_timed_out(state):
                return await self._cancel(is_blocked=self._is_blocked(state))
            await self._pause()

    async def _poll(self) -> JobState | None:
        """`None` if there is no usable response."""
        self._watch.may_have_ended = False
        return await self._answer(self._jobs.find(self._prompt_id))

    async def _poll_queue(self) -> None:
        """Note whether the queue moves: a job behind a dead worker stays queued without any error."""
        if (remaining := await self._answer(self._jobs.remaining())) is not None:
            if remaining < self._remaining:
                self._queue_moved_at = monotonic()
            self._remaining = remaining

    async def _answer(self, request: Awaitable[T]) -> T | None:
        try:
            return await request
        except TransportError as error:
            self._last_error = str(error)
            return None

    def _check_lost(self, state: JobState | None) -> None:
        now = monotonic()
        if self._unreachable.seconds(state is None, now) > self._limits.unreachable_seconds_max:
            raise OutcomeUnknown("the server no longer answers", self._last_error)
        # A cancelled job may leave no trace on the server, so one more poll is enough.
        lost_seconds_max = 0.0 if self._watch.is_cancelled else self._limits.lost_seconds_max
        if self._missing.seconds(state is JobState.UNKNOWN, now) > lost_seconds_max:
            if self._watch.is_cancelled:
                raise JobCancelled("the job was stopped")
            raise JobLost("the server lost the job")
        if state is JobState.UNKNOWN:
            self._pause_seconds = self._limits.poll_seconds_min

    def _is_timed_out(self, state: JobState | None) -> bool:
        now, progressed_at = monotonic(), self._watch.progressed_at
        idle = self._running.seconds(state is JobState.RUNNING, now)
        idle = idle if progressed_at is None else min(idle, now - progressed_at)
        is_idle = idle > self._limits.seconds_without_progress_max
        return is_idle or self._is_blocked(state) or now - self._started > self._limits.job_seconds_max

    def _is_blocked(self, state: JobState | None) -> bool:
        """Whether the job is queued while the server makes no progress with any job."""
        idle = monotonic() - max(self._queue_moved_at, self._listener.watches.progressed_at)
        return state is JobState.QUEUED and idle > self._limits.seconds_without_progress_max

    async def _cancel(self, *, is_blocked: bool) -> JobState:
        """Cancel the job and wait for the effect. It may succeed nevertheless. Raises `JobTimeout`."""
        await self._answer(self._jobs.cancel(self._prompt_id))
        until = monotonic() + self._limits.cancel_seconds_max
        state = await self._poll()
        while not _is_over(state) and monotonic() < until:
            await asyncio.sleep(self._limits.poll_seconds_min)
            state = await self._poll()
        if state is JobState.SUCCEEDED:
            return state
        if state is None:
            raise OutcomeUnknown("the server no longer answers", self._last_error)
        is_stuck = is_blocked or not _is_over(state)
        raise JobTimeout("the picture took too long", state.value, worker_stuck=is_stuck)

    async def _pause(self) -> None:
        self._reopen_silent_socket()
        until = monotonic() + self._pause_seconds
        while not self._watch.may_have_ended and (left := until - monotonic()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._watch.changed.wait()
                self._watch.changed.clear()
            if self._on_progress is not None and self._watch.progress > self._reported:
                self._reported = self._watch.progress
                self._on_progress(self._reported)
        if self._watch.may_have_ended:
            self._pause_seconds = self._limits.poll_seconds_min
        self._pause_seconds = min(self._limits.poll_seconds_max, self._pause_seconds * POLL_GROWTH)

    def _reopen_silent_socket(self) -> None:
        # A socket that gets no events any more may still answer pings, so only their absence shows it.
        event_at = self._watch.event_at if self._watch.event_at is not None else self._started
        silent_seconds_max = self._limits.socket_silent_seconds_max * (self._renewals + 1)
        may_renew = self._renewals < self._limits.socket_renewals_max
        if may_renew and monotonic() - event_at > silent_seconds_max:
            self._renewals += 1
            self._listener.renew()


def _is_over(state: JobState | None) -> bool:
    return state is JobState.UNKNOWN or (state is not None and state.has_ended)


class FetchedPicture(NamedTuple):
    """A picture, and the graph that the server executed."""

    content: bytes
    graph: dict[str, Any]


class ResultFetcher:
    """Reads history entries and pictures of ended jobs.

    `size_of` returns the size of the server's picture, for a history entry whose graph does not have it.
    """

    def __init__(self, transport: Transport, jobs: Jobs, limits: ClientLimits, size_of: SizeOf) -> None:
        self._transport, self._jobs = transport, jobs
        self._limits, self._size_of = limits, size_of

    async def fetch(self, drawing: Drawing, state: JobState) -> FetchedPicture:
        """The verified picture. Raises `DrawingFailed`, or `OutcomeUnknown`: then it can be fetched later."""
        try:
            async with asyncio.timeout(self._limits.picture_seconds_max):
                return await self._fetch(drawing, state)
        except TimeoutError as error:
            raise OutcomeUnknown("the picture was not delivered in time", "time-out") from error

    async def _fetch(self, drawing: Drawing, state: JobState) -> FetchedPicture:
        entry = await self._history_entry(drawing, state)
        if final_state(entry) is not JobState.SUCCEEDED:
            raise failure(entry, self._limits.detail_characters_max)
        graph = graph_of(entry)
        size = sent_size(graph, drawing) or await self._size_of(drawing)
        file = find_picture(entry, str(drawing.prompt_id), drawing.workflow or {})
        return FetchedPicture(await self._picture(drawing, file, size), graph)

    async def _history_entry(self, drawing: Drawing, state: JobState) -> dict[str, Any]:
        """The history entry, which may appear a moment after the job's end."""
        until = monotonic() + self._limits.history_seconds_max
        while (entry := await self._read_entry(until, drawing)) is None:
            if monotonic() > until:
                if state is JobState.SUCCEEDED:
                    raise JobLost("the server lost the finished job")
                raise DrawingFailed("the server failed while drawing", "it kept no record of the job")
            await asyncio.sleep(self._limits.poll_seconds_min)
        return entry

    async def _read_entry(self, until: float, drawing: Drawing) -> dict[str, Any] | None:
        try:
            return await self._jobs.record(drawing.prompt_id)
        except TransportError as trouble:
            if monotonic() > until:
                raise OutcomeUnknown("the server no longer answers", str(trouble)) from trouble
            return None

    async def _picture(self, drawing: Drawing, file: PictureFile, size: tuple[int, int]) -> bytes:
        """Several attempts, since a broken transfer looks like a broken file."""
        problem: Exception | None = None
        for _ in range(self._limits.picture_attempts_max):
            try:
                return await self._picture_once(drawing, file, size)
            except (TransportError, InvalidPicture) as error:
                problem = error
                await asyncio.sleep(self._limits.retry_seconds)
        if isinstance(problem, InvalidPicture):
            raise problem
        raise OutcomeUnknown("the picture could not be fetched", str(problem)) from problem

    async def _picture_once(self, drawing: Drawing, file: PictureFile, size: tuple[int, int]) -> bytes:
        try:
            response = await self._transport.picture(file)
        except ResponseTooLarge as problem:
            raise InvalidPicture("the picture is too large", str(problem)) from problem
        # Decoding takes tens of milliseconds, too long for the event loop.
        png = await asyncio.to_thread(verify, _body(response), *size)
        return await asyncio.to_thread(crop, png, drawing.width, drawing.height)


def graph_of(entry: dict[str, Any]) -> dict[str, Any]:
    """The graph in a history entry; empty if there is none."""
    item = entry.get("prompt")
    return mapping(item[2]) if isinstance(item, list) and len(item) > 2 else {}


def _body(response: Response) -> bytes:
    if response.status == 404:
        raise InvalidPicture("the picture's file is gone", response.text)
    if response.status in {400, 403}:
        raise InvalidPicture("the server does not give the picture", response.text)
    if response.status != 200:
        raise NoUsableResponse(response.text)
    return response.body


def find_picture(entry: dict[str, Any], prompt_id: str, workflow: Graph) -> PictureFile:
    """The file of the picture. Raises `InvalidPicture` if there is none.

    The file of the node whose filename prefix is exactly `{prefix}` comes first, then one in the job's own
    folder. Of several files in one output it is the first.
    """
    exact = picture_nodes(workflow)
    found = list(_files(entry.get("outputs")))
    if not found:
        raise InvalidPicture("the server finished without a picture")

    def rank(candidate: tuple[str, PictureFile]) -> tuple[bool, ...]:
        node, file = candidate
        name, is_elsewhere = file["filename"], prompt_id not in file["subfolder"]
        is_other, is_no_png = not _EXACT_NAME.fullmatch(name), not name.lower().endswith(".png")
        return node not in exact, is_elsewhere, is_other, file["type"] != "output", is_no_png

    return min(found, key=rank)[1]


def _files(outputs: Any) -> Iterator[tuple[str, PictureFile]]:
    for node, output in sorted(mapping(outputs).items(), key=lambda node: str(node[0])):
        images = mapping(output).get("images")
        for image in images if isinstance(images, list) else ():
            file: dict[str, Any] = {field: mapping(image).get(field) for field in FILE_FIELDS}
            if all(isinstance(value, str) for value in file.values()):
                yield str(node), file
