"""Avatars: uploads become small pictures without metadata, and invalid pictures are rejected."""

import io
import struct
import tracemalloc
import zlib

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from huajuan.storage.avatars import InvalidAvatar, make_avatar


def picture(
    kind: str = "PNG", size: tuple[int, int] = (1000, 500), mode: str = "RGB", **options: object
) -> bytes:
    made = io.BytesIO()
    Image.new(mode, size, "teal" if mode != "L" else 128).save(made, kind, **options)
    return made.getvalue()


def avatar_of(upload: bytes) -> bytes:
    return make_avatar(io.BytesIO(upload))


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content), formats=["PNG"])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_three_formats_are_accepted_and_scaled_down(kind: str) -> None:
    assert opened(avatar_of(picture(kind))).size == (512, 256)


@pytest.mark.parametrize("size", [(1, 1), (512, 512), (30, 2000)])
def test_small_pictures_are_not_enlarged(size: tuple[int, int]) -> None:
    made = opened(avatar_of(picture(size=size)))
    assert max(made.size) <= 512
    assert made.size == size or max(size) > 512


def test_transparency_stays() -> None:
    assert opened(avatar_of(picture(mode="RGBA"))).mode == "RGBA"


def test_metadata_is_removed() -> None:
    metadata = PngInfo()
    metadata.add_text("location", "at home")
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    for content in (picture(pnginfo=metadata, exif=exif), picture("JPEG", exif=exif, comment=b"at home")):
        made = avatar_of(content)
        assert b"home" not in made
        assert b"camera" not in made
        assert not opened(made).getexif()


def test_a_rotated_picture_becomes_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert opened(avatar_of(picture("JPEG", (200, 100), exif=exif))).size == (100, 200)


def bomb(side: int) -> bytes:
    """A well-formed PNG of a few hundred bytes whose header has `side` by `side` pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [5_000, 60_000, 2**31 - 1])
def test_a_decompression_bomb_is_rejected_in_constant_memory(side: int) -> None:
    tracemalloc.start()
    with pytest.raises(InvalidAvatar):
        avatar_of(bomb(side))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x" * 100,
        b"<svg/>",
        picture()[:60],
        picture("JPEG")[:40],
        picture("GIF"),
        picture("BMP"),
        bomb(10),
    ],
    ids=range(8),
)
def test_invalid_pictures_are_rejected(content: bytes) -> None:
    with pytest.raises(InvalidAvatar):
        avatar_of(content)


@pytest.mark.parametrize("size", [(1, 70_000), (70_000, 1)])
def test_a_too_long_side_is_rejected(size: tuple[int, int]) -> None:
    """Each row takes memory of the decoder, whatever its length is."""
    with pytest.raises(InvalidAvatar):
        avatar_of(picture(size=size))
