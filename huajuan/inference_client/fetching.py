"""Fetch the picture of a job that has ended, or raise what it ended with."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from huajuan.inference_client.drawing import Drawing
from huajuan.inference_client.errors import BadPicture, DrawingFailed, JobLost, OutcomeUnknown
from huajuan.inference_client.failures import failure
from huajuan.inference_client.jobs import Jobs, JobState, ending
from huajuan.inference_client.limits import Limits
from huajuan.inference_client.outputs import Place, picture_place
from huajuan.inference_client.picture import cut, verified
from huajuan.inference_client.transport import Answer, NoAnswer, TooLarge, Transport, Trouble
from huajuan.inference_client.watches import Clock
from huajuan.inference_client.workflow import sent_size

SizeOf = Callable[[Drawing], Awaitable[tuple[int, int]]]


class Fetched(NamedTuple):
    """A picture, and the graph that the server made it by."""

    content: bytes
    graph: dict[str, Any]


class Fetching:
    """Reads history entries and pictures of ended jobs.

    `size_of` says how large the server's picture must be where the graph that it keeps does not.
    """

    def __init__(
        self, transport: Transport, jobs: Jobs, limits: Limits, clock: Clock, size_of: SizeOf
    ) -> None:
        self._size_of = size_of
        self._transport = transport
        self._jobs = jobs
        self._limits = limits
        self._clock = clock

    async def fetch(self, drawing: Drawing, state: JobState) -> Fetched:
        """The verified picture. Raises a DrawingFailed, or OutcomeUnknown: then ask again later."""
        try:
            async with asyncio.timeout(self._limits.picture_seconds_max):
                return await self._fetch(drawing, state)
        except TimeoutError as problem:
            raise OutcomeUnknown("the picture was not delivered in time", "time-out") from problem

    async def _fetch(self, drawing: Drawing, state: JobState) -> Fetched:
        entry = await self._record(drawing, state)
        if ending(entry) is not JobState.SUCCEEDED:
            raise failure(entry, self._limits.detail_characters_max)
        graph = graph_of(entry)
        size = sent_size(graph, drawing) or await self._size_of(drawing)
        place = picture_place(entry, str(drawing.prompt_id), drawing.workflow or {})
        return Fetched(await self._picture(drawing, place, size), graph)

    async def _record(self, drawing: Drawing, state: JobState) -> dict[str, Any]:
        """The history entry, which may appear a moment after the job's end."""
        until = self._clock() + self._limits.history_seconds_max
        while (entry := await self._record_by(until, drawing)) is None:
            if self._clock() > until:
                raise _without_record(state)
            await asyncio.sleep(self._limits.poll_seconds_min)
        return entry

    async def _record_by(self, until: float, drawing: Drawing) -> dict[str, Any] | None:
        try:
            return await self._jobs.record(drawing.prompt_id)
        except Trouble as trouble:
            if self._clock() > until:
                raise OutcomeUnknown("the server no longer answers", str(trouble)) from trouble
            return None

    async def _picture(self, drawing: Drawing, place: Place, size: tuple[int, int]) -> bytes:
        """Several attempts, since a broken transfer and a broken file look alike."""
        problem: Exception | None = None
        for _ in range(self._limits.picture_attempts_max):
            try:
                return await self._picture_once(drawing, place, size)
            except (Trouble, BadPicture) as error:
                problem = error
                await asyncio.sleep(self._limits.retry_seconds)
        if isinstance(problem, BadPicture):
            raise problem
        raise OutcomeUnknown("the picture could not be fetched", str(problem)) from problem

    async def _picture_once(self, drawing: Drawing, place: Place, size: tuple[int, int]) -> bytes:
        try:
            answer = await self._transport.picture(place)
        except TooLarge as problem:
            raise BadPicture("the picture is too large", str(problem)) from problem
        png = _body(answer)
        # Decoding takes tens of milliseconds, during which others want the loop.
        return await asyncio.to_thread(_of_size, png, drawing, size)


def _of_size(png: bytes, drawing: Drawing, size: tuple[int, int]) -> bytes:
    return cut(verified(png, *size), drawing.width, drawing.height)


def graph_of(entry: dict[str, Any]) -> dict[str, Any]:
    """The graph as the server had it, empty where it keeps none."""
    item = entry.get("prompt")
    graph = item[2] if isinstance(item, list) and len(item) > 2 else None
    return graph if isinstance(graph, dict) else {}


def _without_record(state: JobState) -> DrawingFailed:
    if state is JobState.SUCCEEDED:
        return JobLost("the server lost the finished job")
    return DrawingFailed("the server failed while drawing", "it kept no record of the job")


def _body(answer: Answer) -> bytes:
    if answer.status == 404:
        raise BadPicture("the picture's file is gone", answer.text)
    if answer.status in {400, 403}:
        raise BadPicture("the server does not give the picture", answer.text)
    if answer.status != 200:
        raise NoAnswer(answer.text)
    return answer.body
