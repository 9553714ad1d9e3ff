"""Fetches the picture of a job that has ended, or raises its failure."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

from huajuan.inference_client.errors import DrawingFailed, InvalidPicture, JobLost, OutcomeUnknown
from huajuan.inference_client.failures import failure
from huajuan.inference_client.jobs import Jobs, JobState, final_state
from huajuan.inference_client.models import ClientLimits, Clock, Drawing
from huajuan.inference_client.picture import crop, verify
from huajuan.inference_client.transport import (
    NoUsableResponse,
    Response,
    ResponseTooLarge,
    Transport,
    TransportError,
)
from huajuan.inference_client.workflows.checks import picture_nodes
from huajuan.inference_client.workflows.fill import sent_size
from huajuan.inference_client.workflows.placeholders import Graph

SizeOf = Callable[[Drawing], Awaitable[tuple[int, int]]]
PictureFile = dict[str, str]
FILE_FIELDS = ("filename", "subfolder", "type")
# The prefix ends in `img`, and the server adds a number. Other nodes may save `img_pass1_00001_.png`.
_EXACT_NAME = re.compile(r"img_\d+_?\.[A-Za-z0-9]+")


class FetchedPicture(NamedTuple):
    """A picture, and the graph that the server executed."""

    content: bytes
    graph: dict[str, Any]


class ResultFetcher:
    """Reads history entries and pictures of ended jobs.

    `size_of` returns the size of the server's picture, for a history entry whose graph does not have it.
    """

    def __init__(
        self, transport: Transport, jobs: Jobs, limits: ClientLimits, clock: Clock, size_of: SizeOf
    ) -> None:
        self._size_of = size_of
        self._transport = transport
        self._jobs = jobs
        self._limits = limits
        self._clock = clock

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
        until = self._clock() + self._limits.history_seconds_max
        while (entry := await self._read_entry(until, drawing)) is None:
            if self._clock() > until:
                raise _missing_entry(state)
            await asyncio.sleep(self._limits.poll_seconds_min)
        return entry

    async def _read_entry(self, until: float, drawing: Drawing) -> dict[str, Any] | None:
        try:
            return await self._jobs.record(drawing.prompt_id)
        except TransportError as trouble:
            if self._clock() > until:
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
        png = _body(response)
        # Decoding takes tens of milliseconds, too long for the event loop.
        return await asyncio.to_thread(_verify_and_crop, png, drawing, size)


def _verify_and_crop(png: bytes, drawing: Drawing, size: tuple[int, int]) -> bytes:
    return crop(verify(png, *size), drawing.width, drawing.height)


def graph_of(entry: dict[str, Any]) -> dict[str, Any]:
    """The graph in a history entry; empty if there is none."""
    item = entry.get("prompt")
    graph = item[2] if isinstance(item, list) and len(item) > 2 else None
    return graph if isinstance(graph, dict) else {}


def _missing_entry(state: JobState) -> DrawingFailed:
    if state is JobState.SUCCEEDED:
        return JobLost("the server lost the finished job")
    return DrawingFailed("the server failed while drawing", "it kept no record of the job")


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
        return (
            node not in exact,
            prompt_id not in file["subfolder"],
            not _EXACT_NAME.fullmatch(file["filename"]),
            file["type"] != "output",
            not file["filename"].lower().endswith(".png"),
        )

    return min(found, key=rank)[1]


def _files(outputs: Any) -> Iterator[tuple[str, PictureFile]]:
    nodes = sorted(outputs.items(), key=lambda node: str(node[0])) if isinstance(outputs, dict) else []
    for node, output in nodes:
        images = output.get("images") if isinstance(output, dict) else None
        for image in images if isinstance(images, list) else ():
            if _is_file(image):
                yield str(node), {field: image[field] for field in FILE_FIELDS}


def _is_file(image: Any) -> bool:
    return isinstance(image, dict) and all(isinstance(image.get(field), str) for field in FILE_FIELDS)
