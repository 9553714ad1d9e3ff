"""Draws a recorded picture again from its events, and compares the two."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from uuid import UUID, uuid5

import msgspec

from huajuan.domain.image import Image
from huajuan.domain.inference_servers import without_credentials
from huajuan.inference_client import (
    ClientLimits,
    ComfyUI,
    Drawing,
    DrawingFailed,
    Drawn,
    Graph,
    InferenceError,
    ServerInfo,
    ServerUnavailable,
)
from huajuan.inference_client.picture import compare
from huajuan.jobs.workflows import drawing_for

CANCEL_SECONDS_MAX = 5.0
UNREACHABLE = "the server cannot be reached"


class RedrawRefused(Exception):
    """The picture cannot be drawn again. The message is one line."""


class RedrawResult(msgspec.Struct, frozen=True):
    """The new picture, the server's address, and the differences of checkpoint, version and workflow."""

    drawn: Drawn
    server: str
    differences: list[str]


def require_redrawable(image: Image | None) -> Image:
    """The image, if it was drawn and its prompt is still readable. Raises `RedrawRefused`."""
    if image is None:
        raise RedrawRefused("there is no such image")
    if image.failure is not None:
        raise RedrawRefused(f"it was never drawn: {image.failure}")
    if image.is_open:
        raise RedrawRefused("it is still being drawn")
    if image.is_erased or image.prompt is None:
        raise RedrawRefused("its owner was erased, and nobody can read the prompt any more")
    return image


async def redraw(
    image: Image,
    workflow: Graph,
    prompt_id: UUID,
    urls: Sequence[str],
    limits: ClientLimits,
    checkpoint: str = "",
    *,
    before: bytes,
) -> RedrawResult:
    """Draw on the server most similar to the one that drew it. `checkpoint` is used if none is recorded.

    The grid to which the size was rounded is not recorded. If the pixels differ from `before`, the default
    grid is tried as well. Raises any error of the inference client.
    """
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(ComfyUI(url, limits=limits)) for url in urls]
        clients = dict(zip(map(without_credentials, urls), opened, strict=True))
        url = await _most_similar(image, workflow, clients)
        drawing = drawing_for(image, workflow, image.checkpoint or checkpoint or None)
        drawing = msgspec.structs.replace(drawing, prompt_id=prompt_id)
        drawn = await _draw(clients[url], drawing)
        if not await _are_equal(before, drawn.content) and not await clients[url].uses_default_grid(drawing):
            drawn = await _draw_on_default_grid(clients[url], drawing, before) or drawn
    return RedrawResult(drawn, url, _differences(image, drawn))


async def _draw_on_default_grid(client: ComfyUI, drawing: Drawing, before: bytes) -> Drawn | None:
    """`None` if the pixels differ from `before`, or if the server fails in it."""
    prompt_id = uuid5(drawing.prompt_id, "plain")
    try:
        drawn = await _draw(client, msgspec.structs.replace(drawing, prompt_id=prompt_id, default_grid=True))
    except DrawingFailed:
        return None
    return drawn if await _are_equal(before, drawn.content) else None


async def _are_equal(before: bytes, after: bytes) -> bool:
    return (await asyncio.to_thread(compare, before, after)).are_equal


async def _draw(client: ComfyUI, drawing: Drawing) -> Drawn:
    """Leaves no job on the server, even when it is cancelled."""
    try:
        drawn = await client.draw(drawing)
    except asyncio.CancelledError:
        with suppress(InferenceError, TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS_MAX):
                await client.cancel(drawing.prompt_id)
        raise
    await client.forget(drawing.prompt_id)
    return drawn


async def _most_similar(image: Image, workflow: Graph, clients: dict[str, ComfyUI]) -> str:
    answers = await asyncio.gather(*(c.check() for c in clients.values()), return_exceptions=True)
    found = {u: a for u, a in zip(clients, answers, strict=True) if isinstance(a, ServerInfo)}
    if not found:
        reasons = {answer.reason for answer in answers if isinstance(answer, ServerUnavailable)} - {
            UNREACHABLE
        }
        why = f": {', '.join(sorted(reasons))}" if reasons else ""
        raise ServerUnavailable(f"no inference server could be reached{why}")
    models: dict[str, list[str]] = {url: [] for url in found}
    for url in found:
        with suppress(ServerUnavailable):
            models[url] = await clients[url].checkpoints(workflow)
    return max(found, key=lambda url: (image.checkpoint in models[url], found[url].version == image.painter))


def _differences(image: Image, drawn: Drawn) -> list[str]:
    pairs = (
        ("checkpoint", image.checkpoint, drawn.checkpoint),
        ("server version", image.painter, drawn.version),
    )
    differences = [
        f"{what} is {now or 'unknown'}, was {before or 'not recorded'}"
        for what, before, now in pairs
        if before != now
    ]
    if not image.workflow:
        differences.append("no workflow is on record, so the built-in one was taken")
    return differences
