"""Stores a drawn picture. The first whole picture stored for an image stays, whichever attempt drew it."""

import asyncio
from contextlib import suppress
from functools import partial

from huajuan.domain.image import Image
from huajuan.inference_client import Drawn, InvalidPicture
from huajuan.inference_client.picture import verify
from huajuan.postgres.retry import Backoff, retry
from huajuan.storage.pictures import PictureMissing, Pictures, StorageUnavailable, picture_key

TRIES_MAX = 5
PAUSE_SECONDS = 0.5


class PictureNotStored(Exception):
    """The file under the image's key appeared and vanished at every try."""


async def store_picture(pictures: Pictures, image: Image, drawn: Drawn, seconds_max: float) -> Drawn:
    """As `store_first_picture`. While the store is unavailable it is retried for `seconds_max`."""
    backoff = Backoff(seconds_max, PAUSE_SECONDS, PAUSE_SECONDS)
    return await retry(partial(store_first_picture, pictures, image, drawn), backoff, (StorageUnavailable,))


async def store_first_picture(pictures: Pictures, image: Image, drawn: Drawn) -> Drawn:
    """The stored picture, which is the one to record: `drawn`, or that of an earlier attempt.

    The checkpoint and version of an earlier attempt's picture are unknown, so they are empty.
    Raises `PictureNotStored`, and what the store raises.
    """
    for _ in range(TRIES_MAX):
        if await pictures.put_if_absent(image.id, drawn.content):
            return drawn
        with suppress(PictureMissing):  # removed meanwhile
            stored = await pictures.whole(picture_key(image.id))
            if stored == drawn.content:
                return drawn
            if await asyncio.to_thread(_is_whole, stored, image):
                return Drawn(stored)
            # A crash truncated the file. No event names it: only a whole picture is recorded.
            await pictures.remove(picture_key(image.id))
    raise PictureNotStored


def _is_whole(stored: bytes, image: Image) -> bool:
    try:
        verify(stored, image.width, image.height)
    except InvalidPicture:
        return False
    return True
