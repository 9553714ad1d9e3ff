"""Makes an avatar from an uploaded picture: decodes it, scales it down, and encodes a new PNG."""

import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from PIL import Image, ImageOps
from PIL.ExifTags import Base

from huajuan.runtime.periodic import Threads, TooManyWaiting
from huajuan.storage import png_strips

SIDE_PIXELS_MAX = 512
# The decoder stores a pointer for each row, so a picture of very many short rows takes much more than its
# pixels.
SIDE_UPLOADED_MAX = 65_535
UPLOAD_BYTES_MAX = 20 << 20
# A picture whose header has more is rejected without decoding.
PIXELS_MAX = 64_000_000
# Decoded bytes of one picture in memory; with the interpreter itself that is less than 256 MB.
DECODED_BYTES_MAX = 210_000_000
# Each scan of a JPEG processes the whole picture; usual files have about ten.
SCANS_MAX = 100
STRIP_BYTES = 4 << 20
FORMATS = ("PNG", "JPEG", "WEBP")
# The WebP decoder's canvas, previous canvas and returned frame, 4 bytes each.
_WEBP_PIXEL_BYTES = 12
_COEFFICIENT_BYTES = 2
_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2}


class InvalidAvatar(Exception):
    """The upload is not a picture of an accepted format, is damaged, or is too large."""


class AvatarMaker:
    """Decodes at most `threads_max` pictures at a time, with at most `waiting_max` in the queue."""

    def __init__(self, threads_max: int, waiting_max: int) -> None:
        self._threads = Threads("avatars", threads_max, waiting_max)
        self._slots = threads_max + waiting_max

    def reserve_slot(self) -> None:
        """Reserves a slot for an upload whose body is received. Raises `TooManyWaiting`."""
        if self._slots <= 0:
            raise TooManyWaiting
        self._slots -= 1

    def release_slot(self) -> None:
        self._slots += 1

    async def make(self, upload: Callable[[], BinaryIO]) -> bytes:
        """A PNG of at most 512 by 512 pixels. Raises `InvalidAvatar`, `TooManyWaiting`."""

        def make() -> bytes:
            with upload() as file:
                return make_avatar(file)

        return await self._threads.run(make)

    def close(self) -> None:
        self._threads.close()


def make_avatar(file: BinaryIO) -> bytes:
    """The avatar as a PNG. Raises `InvalidAvatar`, also for any error of a decoder."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=FORMATS) as picture:
                return _encoded(_scaled_down(picture, file))
    except Exception as error:
        raise InvalidAvatar from error


def _scaled_down(picture: Image.Image, file: BinaryIO) -> Image.Image:
    width, height = picture.size
    if not 0 < width * height <= PIXELS_MAX or max(width, height) > SIDE_UPLOADED_MAX:
        raise InvalidAvatar
    scale = min(1.0, SIDE_PIXELS_MAX / max(width, height))
    fitted = max(1, round(width * scale)), max(1, round(height * scale))
    if picture.format == "WEBP":
        strips = _strips_of(_webp(picture))
    elif picture.format == "PNG":
        strips = _png(picture, file)
    else:
        strips = _strips_of(_jpeg(picture, file, fitted))
    small = _reduced(strips, picture).resize(fitted, Image.Resampling.BICUBIC)
    return _upright(small.convert("RGBA") if small.mode == "RGBa" else small, picture)


def _webp(picture: Any) -> Image.Image:
    """The first frame. Pillow's own method would make one more copy of it."""
    _check_size(picture.width * picture.height * _WEBP_PIXEL_BYTES)
    frame = picture._decoder.get_next()  # noqa: SLF001
    if frame is None:
        raise InvalidAvatar
    del picture._decoder  # noqa: SLF001
    mode = "RGBA" if picture.rawmode == "RGBA" else "RGB"
    return Image.frombuffer(mode, picture.size, frame[0], "raw", picture.rawmode, 0, 1)


def _jpeg(picture: Any, file: BinaryIO, fitted: tuple[int, int]) -> Image.Image:
    """Decoded at the smallest sufficient scale. With several scans the decoder stores coefficients."""
    width, height = picture.size
    if _scans(file) > SCANS_MAX:
        raise InvalidAvatar
    areas = [layer[1] * layer[2] for layer in picture.layer]
    coefficients = width * height * sum(areas) // max(areas) * _COEFFICIENT_BYTES
    picture.draft(None, (fitted[0] * 2, fitted[1] * 2))
    pixels = picture.width * picture.height * _PIXEL_BYTES.get(picture.mode, 4)
    _check_size(pixels + (0 if _is_one_scan(picture, file) else coefficients))
    picture.load()
    return picture  # type: ignore[no-any-return]


def _scans(file: BinaryIO) -> int:
    """The number of scan markers, which cannot occur in encoded data."""
    found, before = 0, b""
    file.seek(0)
    while piece := file.read(1 << 20):
        found += (before + piece).count(b"\xff\xda")
        before = piece[-1:] if piece[-1:] == b"\xff" else b""
    return found


def _is_one_scan(picture: Any, file: BinaryIO) -> bool:
    """Whether the first scan has all components; False if its header is not found."""
    file.seek(2)
    while True:
        marker, length = file.read(2), int.from_bytes(file.read(2), "big")
        if marker == b"\xff\xda":
            return not picture.info.get("progressive") and file.read(1) == bytes([len(picture.layer)])
        if len(marker) < 2 or marker[0] != 0xFF or length < 2:
            return False
        file.seek(length - 2, io.SEEK_CUR)


def _png(picture: Image.Image, file: BinaryIO) -> Iterator[Image.Image]:
    """A picture that is too large for memory is decoded in strips, if its format allows that."""
    if picture.width * picture.height * _PIXEL_BYTES.get(picture.mode, 4) <= DECODED_BYTES_MAX:
        picture.load()
        return _strips_of(picture)
    strips = png_strips.strips(file, _rows(picture.size))
    if strips is None:
        raise InvalidAvatar
    return strips


def _check_size(size: int) -> None:
    if size > DECODED_BYTES_MAX:
        raise InvalidAvatar


def _factor(size: tuple[int, int]) -> int:
    return max(1, max(size) // (SIDE_PIXELS_MAX * 2))


def _rows(size: tuple[int, int]) -> int:
    """The rows of a strip: a multiple of the factor by which it is reduced."""
    factor = _factor(size)
    return factor * max(1, STRIP_BYTES // (size[0] * 4 * factor))


def _strips_of(picture: Image.Image) -> Iterator[Image.Image]:
    width, height = picture.size
    rows = _rows(picture.size)
    for top in range(0, height, rows):
        yield picture.crop((0, top, width, min(top + rows, height)))


def _reduced(strips: Iterator[Image.Image], picture: Image.Image) -> Image.Image:
    """All strips together, in RGB or premultiplied RGBA, averaged over squares of pixels."""
    canvas: Image.Image | None = None
    top, factor = 0, _factor(picture.size)
    for strip in strips:
        pixels = _pixels(strip, is_transparent=picture.has_transparency_data)
        part = pixels.reduce(factor) if factor > 1 else pixels
        if canvas is None:
            canvas = Image.new(part.mode, (part.width, -(-picture.height // factor)))
        canvas.paste(part, (0, top))
        top += part.height
    if canvas is None or top < canvas.height:
        raise InvalidAvatar
    return canvas


def _pixels(strip: Image.Image, *, is_transparent: bool) -> Image.Image:
    """Premultiplied alpha, so that invisible colours do not change an average."""
    if strip.mode.startswith("I"):
        # 16-bit grey: the higher byte is used.
        return strip.convert("I").point(lambda grey: grey * (1 / 256)).convert("L").convert("RGB")
    return strip.convert("RGBA").convert("RGBa") if is_transparent else strip.convert("RGB")


def _upright(small: Image.Image, picture: Image.Image) -> Image.Image:
    """Turned by the EXIF orientation, if readable. A PNG's own method would load the whole picture first."""
    try:
        small.getexif()[Base.Orientation] = Image.Image.getexif(picture).get(Base.Orientation, 1)
        return ImageOps.exif_transpose(small)
    except Exception:  # noqa: BLE001
        return small


def _encoded(picture: Image.Image) -> bytes:
    """Encodes a copy of the pixels, without the metadata of the upload."""
    bare = Image.new(picture.mode, picture.size)
    bare.paste(picture)
    made = io.BytesIO()
    bare.save(made, "PNG", optimize=True)
    return made.getvalue()
