"""Finish abandoned images: jobs whose process died are found by their lapsed leases and brought to an end."""

import asyncio

import structlog

from huajuan.dispatch.leases import Lapsed
from huajuan.dispatch.room import DrawingRoom
from huajuan.domain.image import Image
from huajuan.event_store.errors import LogError

_logger = structlog.get_logger(__name__)


async def finish_abandoned_images(room: DrawingRoom) -> int:
    """Take over what nobody has in hand, up to a batch; returns how many jobs are being finished."""
    lapsed = await room.leases.take_lapsed(min(room.places, room.limits.abandoned_batch_max))
    return sum([await _take_over(room, job) for job in lapsed])


async def keep_finishing_abandoned_images(room: DrawingRoom) -> None:
    """For ever: at once, then on a timer."""
    while True:
        try:
            await finish_abandoned_images(room)
        except LogError as error:
            _logger.warning("abandoned images left for later", error=type(error).__name__)
        await asyncio.sleep(room.limits.abandoned_every_seconds)


async def _take_over(room: DrawingRoom, job: Lapsed) -> bool:
    image = await room.store.find(Image, job.image_id)
    if image is None:
        await _close_if_never_asked(room, job)
    elif not image.is_open:
        await room.leases.close(image.id)
    elif not room.has(image.id):
        _logger.info("taking over an abandoned image", image_id=str(image.id), host=job.host)
        room.finish(image)
        return True
    return False


async def _close_if_never_asked(room: DrawingRoom, job: Lapsed) -> None:
    """A request may still be on its way to the log; only after a while can it no longer come."""
    if job.age_seconds > room.limits.unasked_seconds_max:
        await room.leases.close(job.image_id)
