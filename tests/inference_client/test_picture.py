"""Verifying PNGs and removing their metadata."""

import io
import struct
import zlib

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from huajuan.inference_client.errors import InvalidPicture
from huajuan.inference_client.picture import SIGNATURE, verify


def png(size: tuple[int, int] = (40, 30), mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    picture = Image.frombytes(mode, size, bytes(n % 251 for n in range(size[0] * size[1] * len(mode))))
    picture.save(file, format="PNG", **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def after_header(picture: bytes, *chunks: bytes) -> bytes:
    end = len(SIGNATURE) + 25
    return picture[:end] + b"".join(chunks) + picture[end:]


def names(picture: bytes) -> set[bytes]:
    found, start = set(), len(SIGNATURE)
    while start < len(picture):
        found.add(picture[start + 4 : start + 8])
        start += 12 + int.from_bytes(picture[start : start + 4], "big")
    return found


def pixels(picture: bytes) -> bytes:
    with Image.open(io.BytesIO(picture)) as opened:
        return opened.convert("RGBA").tobytes()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_a_sound_picture_keeps_its_pixels(mode: str) -> None:
    picture = png(mode=mode)
    assert pixels(verify(picture, 40, 30)) == pixels(picture)


def test_palette_and_transparency_are_kept() -> None:
    file = io.BytesIO()
    Image.new("P", (8, 8), 3).save(file, format="PNG", transparency=3)
    assert pixels(verify(file.getvalue(), 8, 8)) == pixels(file.getvalue())


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 9), (8, 8), (17, 13)])
def test_interlaced_pictures_are_accepted(size: tuple[int, int]) -> None:
    interlaced = adam7(*size)
    assert pixels(verify(interlaced, *size)) == pixels(interlaced)


def adam7(width: int, height: int) -> bytes:
    """A grey picture in the seven passes of the PNG standard, which Pillow reads but doesn't write."""
    passes = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]
    rows = b""
    for x, y, across, down in passes:
        row = bytes(column * 7 % 256 for column in range(x, width, across))
        rows += (b"\0" + row) * len(range(y, height, down)) if row else b""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1))
    return SIGNATURE + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_metadata_is_stripped() -> None:
    text = PngInfo()
    text.add_text("prompt", "SECRET graph")
    text.add_itxt("workflow", "SECRET", zip=True)
    spoilt = after_header(png(pnginfo=text, exif=b"Exif\0\0SECRET", dpi=(72, 72)), chunk(b"tIME", b"1234567"))
    bare = verify(spoilt + b"SECRET behind the end", 40, 30)
    assert names(bare) == {b"IHDR", b"IDAT", b"IEND"}
    assert b"SECRET" not in bare
    assert pixels(bare) == pixels(png())


def test_animation_is_stripped() -> None:
    animated = after_header(png(), chunk(b"acTL", struct.pack(">II", 2, 0)))
    assert names(verify(animated, 40, 30)) == {b"IHDR", b"IDAT", b"IEND"}


@pytest.mark.parametrize("wrong", [(30, 40), (41, 30), (40, 29)])
def test_another_size_is_refused(wrong: tuple[int, int]) -> None:
    with pytest.raises(InvalidPicture, match="size"):
        verify(png(), *wrong)


@pytest.mark.parametrize("length", [0, 4, 8, 20, 33, 60, -13, -1])
def test_every_truncation_is_refused(length: int) -> None:
    with pytest.raises(InvalidPicture):
        verify(png()[:length], 40, 30)


def test_rows_missing_from_well_formed_chunks_are_found() -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 30, 8, 2, 0, 0, 0))
    short = SIGNATURE + header + chunk(b"IDAT", zlib.compress(bytes(121 * 10))) + chunk(b"IEND", b"")
    with pytest.raises(InvalidPicture, match="damaged"):
        verify(short, 40, 30)


def test_a_flipped_bit_is_found() -> None:
    picture = bytearray(png())
    picture[70] ^= 1
    with pytest.raises(InvalidPicture, match="damaged"):
        verify(bytes(picture), 40, 30)


def test_other_formats_are_refused() -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, format="JPEG")
    with pytest.raises(InvalidPicture, match="no PNG"):
        verify(file.getvalue(), 40, 30)


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0))
    bomb = SIGNATURE + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    with pytest.raises(InvalidPicture, match="size"):
        verify(bomb, 40, 30)
