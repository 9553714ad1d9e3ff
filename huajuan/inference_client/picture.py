"""Verifies that bytes are one whole PNG of the right size, removes metadata, crops, and compares pictures."""

import io
import struct
import zlib
from collections.abc import Iterator
from functools import reduce

import msgspec
from PIL import Image, ImageChops

from huajuan.inference_client.errors import InvalidPicture

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PICTURE_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
COLOUR_CHUNKS = frozenset({b"sRGB", b"gAMA", b"cHRM"})
KEPT_CHUNKS = PICTURE_CHUNKS | COLOUR_CHUNKS
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# First column and row of each pass, and its steps across and down.
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
FRAME_BYTES = 12  # length, name and checksum around each chunk's data


def verify(png: bytes, width: int, height: int) -> bytes:
    """The same pixels without metadata: no text, time, profile, animation or trailing bytes.

    Raises `InvalidPicture` unless `png` is one undamaged PNG of exactly `width` x `height` pixels.
    """
    bare = _without_metadata(png)
    # The size is checked before any pixel is decoded, against decompression bombs.
    size = struct.unpack(">II", bare[16:24])
    if size != (width, height):
        raise InvalidPicture("the picture has the wrong size", f"{size[0]}x{size[1]}, not {width}x{height}")
    _check_rows(bare)
    _decode(bare)
    return bare


def crop(png: bytes, width: int, height: int) -> bytes:
    """The centre of a verified picture, in this size."""
    output = io.BytesIO()
    with Image.open(io.BytesIO(png), formats=("PNG",)) as picture:
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        if (width, height) == picture.size:
            return png
        picture.crop((left, top, left + width, top + height)).save(output, format="PNG")
    return _without_metadata(output.getvalue())


def _without_metadata(png: bytes) -> bytes:
    if not png.startswith(SIGNATURE):
        raise InvalidPicture("the server sent no PNG picture", f"it begins with {png[:16]!r}")
    chunks = list(_chunks(png))
    if chunks[0][4:8] != b"IHDR" or len(chunks[0]) != FRAME_BYTES + 13 or chunks[-1][4:8] != b"IEND":
        raise _damaged("no header or no end")
    return SIGNATURE + b"".join(chunk for chunk in chunks if chunk[4:8] in KEPT_CHUNKS)


def _chunks(png: bytes) -> Iterator[bytes]:
    """Whole chunks up to IEND, with their frames. Bytes after IEND are dropped."""
    start, name = len(SIGNATURE), b""
    while name != b"IEND":
        chunk = _chunk(png, start)
        start, name = start + len(chunk), chunk[4:8]
        yield chunk


def _chunk(png: bytes, start: int) -> bytes:
    head = png[start : start + 8]
    size = FRAME_BYTES + int.from_bytes(head[:4], "big")
    chunk = png[start : start + size]
    if len(head) < 8 or len(chunk) != size:
        raise _damaged(f"truncated at byte {start}")
    if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
        raise _damaged(f"checksum of {chunk[4:8]!r} at byte {start}")
    return chunk


def _check_rows(png: bytes) -> None:
    """Check the number of row bytes: the decoder accepts a picture whose compressed rows end early."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", png[16:29])
    packed = b"".join(chunk[8:-4] for chunk in _chunks(png) if chunk[4:8] == b"IDAT")
    expected = _bytes_of_rows(width, height, depth * CHANNELS.get(colour, 0), interlaced)
    try:
        rows = zlib.decompressobj().decompress(packed, expected + 1)
    except zlib.error as problem:
        raise _damaged(str(problem)) from problem
    if len(rows) != expected:
        raise _damaged(f"{len(rows)} bytes of rows, not {expected}")


def _bytes_of_rows(width: int, height: int, pixel_bits: int, interlaced: int) -> int:
    """The length of all rows, each with its filter byte. An interlaced picture is seven smaller ones."""
    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    sizes = [(-(-(width - x) // across), -(-(height - y) // down)) for x, y, across, down in passes]
    return sum((1 + (columns * pixel_bits + 7) // 8) * rows for columns, rows in sizes if columns > 0)


def _decode(png: bytes) -> None:
    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as picture:
            picture.load()
    except (OSError, SyntaxError, ValueError, EOFError, zlib.error) as problem:
        raise _damaged(str(problem)) from problem


def _damaged(detail: str) -> InvalidPicture:
    return InvalidPicture("the picture is damaged", detail)


class Comparison(msgspec.Struct, frozen=True):
    """`size` in pixels (width, height), and the largest difference of a channel, 0 to 255."""

    size: tuple[int, int]
    pixels_differing: int
    difference_max: int

    @property
    def are_equal(self) -> bool:
        return not self.pixels_differing


def compare(png: bytes, other_png: bytes) -> Comparison:
    """Compare two PNG pictures without their metadata. If the sizes differ, every pixel differs."""
    one, other = _open(png), _open(other_png)
    if one.size != other.size:
        return Comparison(one.size, one.width * one.height, 255)
    largest = reduce(ImageChops.lighter, ImageChops.difference(one, other).split())
    pixels_by_difference = largest.histogram()
    found = [difference for difference, pixels in enumerate(pixels_by_difference) if pixels]
    return Comparison(one.size, sum(pixels_by_difference[1:]), max(found))


def _open(png: bytes) -> Image.Image:
    with Image.open(io.BytesIO(png), formats=("PNG",)) as picture:
        return picture.convert("RGBA")
