"""Portraits: what is uploaded comes out small and bare, and what only looks like a picture is refused."""

import io
import struct
import tracemalloc
import zlib

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from huajuan.storage.avatars import PortraitUnfit, make_portrait


def picture(
    kind: str = "PNG", size: tuple[int, int] = (1000, 500), mode: str = "RGB", **options: object
) -> bytes:
    made = io.BytesIO()
    Image.new(mode, size, "teal" if mode != "L" else 128).save(made, kind, **options)
    return made.getvalue()


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content), formats=["PNG"])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_three_kinds_are_taken_and_made_small(kind: str) -> None:
    assert opened(make_portrait(picture(kind))).size == (512, 256)


@pytest.mark.parametrize("size", [(1, 1), (512, 512), (30, 2000)])
def test_nothing_is_made_larger(size: tuple[int, int]) -> None:
    made = opened(make_portrait(picture(size=size)))
    assert max(made.size) <= 512
    assert made.size == size or max(size) > 512


def test_transparency_stays() -> None:
    assert opened(make_portrait(picture(mode="RGBA"))).mode == "RGBA"


def test_what_was_said_beside_the_pixels_is_gone() -> None:
    said = PngInfo()
    said.add_text("location", "at home")
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    for content in (picture(pnginfo=said, exif=exif), picture("JPEG", exif=exif, comment=b"at home")):
        made = make_portrait(content)
        assert b"home" not in made
        assert b"camera" not in made
        assert not opened(made).getexif()


def test_a_picture_taken_sideways_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert opened(make_portrait(picture("JPEG", (200, 100), exif=exif))).size == (100, 200)


def bomb(side: int) -> bytes:
    """A well-formed PNG that claims `side` by `side` pixels in a few hundred bytes."""

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
def test_a_bomb_is_refused_in_constant_memory(side: int) -> None:
    tracemalloc.start()
    with pytest.raises(PortraitUnfit):
        make_portrait(bomb(side))
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
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(PortraitUnfit):
        make_portrait(content)


@pytest.mark.parametrize("size", [(1, 70_000), (70_000, 1)])
def test_a_side_beyond_what_pictures_have_is_unfit(size: tuple[int, int]) -> None:
    """Each row costs the decoder memory of its own, whatever its length is."""
    with pytest.raises(PortraitUnfit):
        make_portrait(picture(size=size))
