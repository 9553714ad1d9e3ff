"""Makes an avatar of an uploaded picture: decoded, made small, and encoded anew without anything but pixels."""

import io
import warnings

from PIL import Image, ImageOps, UnidentifiedImageError

from huajuan.threads import Threads

SIDE_PIXELS_MAX = 512
# What is decoded at once: 64 MB for four bytes a pixel. A picture that claims more is refused unread.
PIXELS_MAX = 4096 * 4096
FORMATS = ("PNG", "JPEG", "WEBP")


class PortraitUnfit(Exception):
    """It is no picture, of no kind we take, broken, or larger than it should be."""


class Portraits:
    """At most `threads_max` pictures are decoded at a time and `waiting_max` wait."""

    def __init__(self, threads_max: int, waiting_max: int) -> None:
        self._threads = Threads("portraits", threads_max, waiting_max)

    async def make(self, uploaded: bytes) -> bytes:
        """A PNG of at most 512 by 512 pixels. Raises `PortraitUnfit` and `TooManyWaiting`."""
        return await self._threads.run(lambda: make_portrait(uploaded))

    def close(self) -> None:
        self._threads.close()


def make_portrait(uploaded: bytes) -> bytes:
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(uploaded), formats=FORMATS) as picture:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return _encoded(_small(picture))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        raise PortraitUnfit from None


def _small(picture: Image.Image) -> Image.Image:
    if picture.width * picture.height > PIXELS_MAX:
        raise PortraitUnfit
    upright = ImageOps.exif_transpose(picture)
    small = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    small.thumbnail((SIDE_PIXELS_MAX, SIDE_PIXELS_MAX))
    return small


def _encoded(picture: Image.Image) -> bytes:
    """A copy of the pixels alone: what the upload said beside them stays behind."""
    bare = Image.new(picture.mode, picture.size)
    bare.paste(picture)
    made = io.BytesIO()
    bare.save(made, "PNG", optimize=True)
    return made.getvalue()
