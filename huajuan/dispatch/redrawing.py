"""Draws a recorded picture again, by what its events say, and compares the two."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from uuid import UUID

import msgspec

from huajuan.dispatch.workflows import drawing_of
from huajuan.domain.image import Image
from huajuan.domain.painter_address import without_credentials
from huajuan.inference_client import (
    ComfyUI,
    Drawing,
    Drawn,
    Graph,
    InferenceError,
    Limits,
    ServerInfo,
    ServerUnavailable,
)

CANCEL_SECONDS_MAX = 5.0


class NotToRedraw(Exception):
    """There is nothing to be drawn again; the message says why, in one line."""


class Redrawn(msgspec.Struct, frozen=True):
    """The new picture, where it was drawn, and in what the circumstances differ from those on record."""

    drawn: Drawn
    host: str
    otherwise: list[str]


def refuse_to_redraw(image: Image | None) -> Image:
    """The image, if it was drawn and what it was drawn from can still be read. Raises `NotToRedraw`."""
    if image is None:
        raise NotToRedraw("there is no such image")
    if image.failure is not None:
        raise NotToRedraw(f"it was never drawn: {image.failure}")
    if image.is_open:
        raise NotToRedraw("it is still being drawn")
    if image.is_erased or image.prompt is None:
        raise NotToRedraw("its owner was erased, and nobody can read the prompt any more")
    return image


async def redraw(
    image: Image, workflow: Graph, prompt_id: UUID, urls: Sequence[str], limits: Limits, checkpoint: str = ""
) -> Redrawn:
    """On the host that is most like the one that drew it. `checkpoint` counts where none is on record.

    Raises any of the inference client's errors.
    """
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(ComfyUI(url, limits=limits)) for url in urls]
        comfyuis = dict(zip(map(without_credentials, urls), opened, strict=True))
        url = await _most_alike(image, comfyuis)
        asked = drawing_of(image, workflow, image.checkpoint or checkpoint or None)
        drawn = await _drawn(comfyuis[url], msgspec.structs.replace(asked, prompt_id=prompt_id))
    return Redrawn(drawn, url, _otherwise(image, drawn))


async def _drawn(comfyui: ComfyUI, drawing: Drawing) -> Drawn:
    """Nothing of it stays behind, even when nobody waits for it any more."""
    try:
        drawn = await comfyui.draw(drawing)
    except asyncio.CancelledError:
        with suppress(InferenceError, TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS_MAX):
                await comfyui.cancel(drawing.prompt_id)
        raise
    await comfyui.forget(drawing.prompt_id)
    return drawn


async def _most_alike(image: Image, comfyuis: dict[str, ComfyUI]) -> str:
    answers = await asyncio.gather(*(c.check() for c in comfyuis.values()), return_exceptions=True)
    there = {u: a for u, a in zip(comfyuis, answers, strict=True) if isinstance(a, ServerInfo)}
    if not there:
        raise ServerUnavailable("no painter could be reached")
    models = {url: await _models(comfyuis[url]) for url in there}
    return max(there, key=lambda url: (image.checkpoint in models[url], there[url].version == image.painter))


async def _models(comfyui: ComfyUI) -> list[str]:
    try:
        return await comfyui.checkpoints()
    except ServerUnavailable:
        return []


def _otherwise(image: Image, drawn: Drawn) -> list[str]:
    pairs = {"checkpoint": (image.checkpoint, drawn.checkpoint), "painter": (image.painter, drawn.version)}
    told = [
        f"{what} is {now or 'unknown'}, was {before or 'not recorded'}"
        for what, (before, now) in pairs.items()
        if before != now
    ]
    return told if image.workflow else [*told, "no workflow is on record, so the built-in one was taken"]
