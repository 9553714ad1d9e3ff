"""Sample pictures in several formats, and random mutations of their bytes (deterministic by seed)."""

import io
import random
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from PIL import Image, ImageCms

SIZE = (40, 30)
PNG_MODES = ("1", "L", "P", "RGB", "RGBA", "LA", "I;16")
EDGES = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x80\0\0\0")


def noise(mode: str) -> Image.Image:
    """A random picture in a mode that `convert` supports."""
    if mode == "I;16":
        return Image.frombytes("I;16", SIZE, random.Random(7).randbytes(SIZE[0] * SIZE[1] * 2))
    return Image.frombytes("L", SIZE, random.Random(7).randbytes(SIZE[0] * SIZE[1])).convert(mode)


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    made = io.BytesIO()
    picture.save(made, kind, **options)
    return made.getvalue()


@lru_cache
def samples() -> tuple[bytes, ...]:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    exif.get_ifd(0x8769)[0x829A] = 1.5
    metadata = {
        "exif": exif.tobytes(),
        "icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    }
    pngs = [saved(noise(mode), "PNG", **metadata) for mode in PNG_MODES]
    pngs += [saved(noise("P"), "PNG", transparency=3), saved(noise("RGB"), "PNG", transparency=(1, 2, 3))]
    jpegs = [
        saved(noise(mode), "JPEG", progressive=is_progressive, **metadata)
        for mode in ("L", "RGB", "CMYK")
        for is_progressive in (False, True)
    ]
    webps = [
        saved(noise(mode), "WEBP", lossless=is_lossless, **metadata)
        for mode in ("RGB", "RGBA")
        for is_lossless in (False, True)
    ]
    frames = {"save_all": True, "append_images": [noise("RGB").rotate(turn) for turn in (90, 180)]}
    moving = [saved(noise("RGB"), kind, **frames) for kind in ("PNG", "WEBP")]
    return (*pngs, *jpegs, *webps, *moving)


def mutations(seed: int, number: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    for _ in range(number):
        yield _mutated(bytearray(chance.choice(samples())), chance)


def _mutated(content: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        if content:
            # More code reads the beginning of a file than the rest.
            limit = len(content) if chance.random() < 0.5 else min(len(content), 400)
            _damage(content, chance.randrange(limit), chance)
    is_png = content.startswith(b"\x89PNG") and chance.random() < 0.7
    return with_sums(bytes(content)) if is_png else bytes(content)


def _damage(content: bytearray, at: int, chance: random.Random) -> None:
    match chance.randrange(7):
        case 0:
            content[at] = chance.randrange(256)
        case 1:
            content[at] ^= 1 << chance.randrange(8)
        case 2:
            del content[at : at + chance.randrange(1, 30)]
        case 3:
            content[at:at] = chance.randbytes(chance.randrange(1, 20))
        case 4:
            del content[at:]
        case 5:
            content[at : at + 4] = chance.choice(EDGES)
        case _:
            source = chance.randrange(len(content))
            content[at : at + 20] = content[source : source + 20]


def with_sums(content: bytes) -> bytes:
    """A PNG whose chunks have valid checksums, so that decoders read their content."""
    mended, at = content[:8], 8
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        if at + 12 + length > len(content):
            break
        chunk = content[at + 4 : at + 8 + length]
        mended += content[at : at + 8 + length] + struct.pack(">I", zlib.crc32(chunk))
        at += 12 + length
    return mended + content[at:]
