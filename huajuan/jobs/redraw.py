"""Draws a recorded picture again, by what its events say, and compares the two."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from uuid import UUID, uuid5

import msgspec

from huajuan.domain.image import Image
from huajuan.domain.server_address import without_credentials
from huajuan.inference_client import (
    ComfyUI,
    Drawing,
    DrawingFailed,
    Drawn,
    Graph,
    InferenceError,
    Limits,
    ServerInfo,
    ServerUnavailable,
)
from huajuan.inference_client.comparing import compare
from huajuan.jobs.workflows import drawing_of

CANCEL_SECONDS_MAX = 5.0
UNREACHABLE = "the server cannot be reached"


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
    image: Image,
    workflow: Graph,
    prompt_id: UUID,
    urls: Sequence[str],
    limits: Limits,
    checkpoint: str = "",
    *,
    before: bytes,
) -> Redrawn:
    """On the host that is most like the one that drew it. `checkpoint` counts where none is on record.

    The steps in which sizes were rounded up are not on record: if the pixels differ from those `before`, it is
    drawn by the plain steps as well, where these are others. Raises any of the inference client's errors.
    """
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(ComfyUI(url, limits=limits)) for url in urls]
        comfyuis = dict(zip(map(without_credentials, urls), opened, strict=True))
        url = await _most_alike(image, workflow, comfyuis)
        asked = drawing_of(image, workflow, image.checkpoint or checkpoint or None)
        asked = msgspec.structs.replace(asked, prompt_id=prompt_id)
        drawn = await _drawn(comfyuis[url], asked)
        if not await _are_equal(before, drawn.content) and not await comfyuis[url].rounds_plainly(asked):
            drawn = await _drawn_plainly(comfyuis[url], asked, before) or drawn
    return Redrawn(drawn, url, _otherwise(image, drawn))


async def _drawn_plainly(comfyui: ComfyUI, asked: Drawing, before: bytes) -> Drawn | None:
    """If that is how it was drawn; `None` as well when the server cannot draw so."""
    plainly = msgspec.structs.replace(asked, prompt_id=uuid5(asked.prompt_id, "plain"), plain_steps=True)
    try:
        drawn = await _drawn(comfyui, plainly)
    except DrawingFailed:
        return None
    return drawn if await _are_equal(before, drawn.content) else None


async def _are_equal(before: bytes, after: bytes) -> bool:
    return (await asyncio.to_thread(compare, before, after)).are_equal


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


async def _most_alike(image: Image, workflow: Graph, comfyuis: dict[str, ComfyUI]) -> str:
    answers = await asyncio.gather(*(c.check() for c in comfyuis.values()), return_exceptions=True)
    there = {u: a for u, a in zip(comfyuis, answers, strict=True) if isinstance(a, ServerInfo)}
    if not there:
        raise ServerUnavailable(_nobody(answers))
    models = {url: await _models(comfyuis[url], workflow) for url in there}
    return max(there, key=lambda url: (image.checkpoint in models[url], there[url].version == image.painter))


def _nobody(answers: Sequence[object]) -> str:
    reasons = {answer.reason for answer in answers if isinstance(answer, ServerUnavailable)} - {UNREACHABLE}
    return ": ".join(["no painter could be reached", *filter(None, [", ".join(sorted(reasons))])])


async def _models(comfyui: ComfyUI, workflow: Graph) -> list[str]:
    try:
        return await comfyui.checkpoints(workflow)
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
