"""Stores what was drawn: of all that is ever drawn of one image the first whole picture stays."""

import asyncio
import time
from contextlib import suppress

from huajuan.domain.image import Image
from huajuan.inference_client import BadPicture, Drawn
from huajuan.inference_client.picture import verified
from huajuan.storage.pictures import PictureMissing, Pictures, StoreAway, key_of

TRIES_MAX = 5
PAUSE_SECONDS = 0.5


class NotKept(Exception):
    """What is stored under the image's key comes and goes."""


async def keep_when_possible(pictures: Pictures, image: Image, made: Drawn, seconds_max: float) -> Drawn:
    """As `keep_first`; a store that is away is tried again until `seconds_max` have passed."""
    give_up_at = time.monotonic() + seconds_max
    while True:
        try:
            return await keep_first(pictures, image, made)
        except StoreAway:
            if time.monotonic() >= give_up_at:
                raise
            await asyncio.sleep(PAUSE_SECONDS)


async def keep_first(pictures: Pictures, image: Image, made: Drawn) -> Drawn:
    """What is stored now, which is what may be told of: `made`, or what another attempt had stored before.

    Nobody knows any more what drew that, so its checkpoint and version are empty. Raises `NotKept`, and what the
    store raises.
    """
    for _ in range(TRIES_MAX):
        if await pictures.put_first(image.id, made.content):
            return made
        with suppress(PictureMissing):  # whose job has ended without it
            stored = await pictures.whole(key_of(image.id))
            if stored == made.content:
                return made
            if await asyncio.to_thread(_is_whole, stored, image):
                return Drawn(stored)
            # A machine went down before it was on disk, and nobody has told of it: to tell, it would have been.
            await pictures.remove(key_of(image.id))
    raise NotKept


def _is_whole(stored: bytes, image: Image) -> bool:
    try:
        verified(stored, image.width, image.height)
    except BadPicture:
        return False
    return True
