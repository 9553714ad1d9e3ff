"""Avatars from real pictures: large, unusual and damaged ones, and the memory they take."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.ImageFile import ImageFile

from huajuan.storage import avatars
from huajuan.storage.avatars import InvalidAvatar
from tests.mutations import PNG_MODES, mutations, noise, samples, saved
from tests.storage.test_avatars import avatar_of, bomb, opened, picture

MEGAPIXELS = 1_000_000
# The maximum for a decode, and the memory of an interpreter that has only loaded the decoder.
PEAK_BYTES_MAX = 256_000_000
MEASURED = """
import pathlib, sys
from huajuan.storage.avatars import InvalidAvatar, make_avatar
try:
    with open(sys.argv[1], "rb") as file:
        size = len(make_avatar(file))
except InvalidAvatar:
    size = 0
(peak,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(size, int(peak) * 1024)
"""
# What undoes the orientations of EXIF.
TURNED_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def test_an_invalid_rational_does_not_hide_the_orientation() -> None:
    """-1/0 in EXIF: the orientation before it is readable, and nothing is written back."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = bytearray(exif.tobytes())
    # SampleFormat as a signed rational, after the directory.
    odd = b"\x01\x53\x00\x0a\x00\x00\x00\x01\x00\x00\x00\x26"
    (count,) = struct.unpack_from(">H", content, 14)
    content[14:16] = struct.pack(">H", count + 1)
    content[28:28] = odd
    content += struct.pack(">ii", -1, 0)
    upload = picture("JPEG", (200, 100), exif=bytes(content))
    assert opened(avatar_of(upload)).size == (100, 200)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_every_orientation_is_honoured(kind: str, orientation: int) -> None:
    """The dark corner of the picture must be at its correct place afterwards."""
    upright = Image.new("L", (40, 20), 255)
    upright.paste(0, (0, 0, 10, 10))
    back = TURNED_BACK.get(orientation)
    stored = upright.transpose(back) if back is not None else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    made = opened(avatar_of(saved(stored.convert("RGB"), kind, exif=exif, quality=95)))
    assert made.size == (40, 20)
    assert made.convert("L").getpixel((4, 4)) < 60  # type: ignore[operator]
    assert made.convert("L").getpixel((36, 16)) > 200  # type: ignore[operator]


def test_an_unreadable_exif_leaves_the_orientation() -> None:
    for exif in (b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff"):
        assert opened(avatar_of(picture("JPEG", (200, 100), exif=exif))).size == (200, 100)


def test_16_bit_grey_is_converted() -> None:
    ramp = [65535 * x // 255 for x in range(256)]
    grey = Image.frombytes("I;16", (256, 1), b"".join(struct.pack("<H", level) for level in ramp))
    made = opened(avatar_of(saved(grey, "PNG"))).convert("L")
    assert all(abs(made.getpixel((x, 0)) - x) <= 1 for x in range(256))  # type: ignore[operator]


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("size", [(8, 8), (3000, 40)])
def test_16_bit_pictures_of_all_modes_are_converted(
    colour: int, channels: int, size: tuple[int, int]
) -> None:
    level = struct.pack(">H", 0x4000)
    pixel = level * (channels - 1) + struct.pack(">H", 0xFFFF if colour in (4, 6) else 0x4000)
    content = png(size, 16, colour, (b"\0" + pixel * size[0]) * size[1])
    made = opened(avatar_of(content)).convert("RGBA")
    assert made.getpixel((0, 0)) == (0x40, 0x40, 0x40, 255)


def png(size: tuple[int, int], depth: int, colour: int, lines: bytes, interlaced: int = 0) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        summed = kind + content
        return struct.pack(">I", len(content)) + summed + struct.pack(">I", zlib.crc32(summed))

    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced)
    data = zlib.compress(lines, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("number", range(len(samples())))
def test_all_samples_are_accepted(number: int) -> None:
    assert max(opened(avatar_of(samples()[number])).size) <= 512


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *[("PNG", mode) for mode in ("RGB", "RGBA", "L", "P")],
        *[("JPEG", mode) for mode in ("RGB", "L", "CMYK")],
        *[("WEBP", mode) for mode in ("RGB", "RGBA")],
    ],
)
@pytest.mark.parametrize("size", [(1500, 1100), (5000, 3), (3, 5000), (1025, 1025)])
def test_a_scaled_picture_looks_the_same(kind: str, mode: str, size: tuple[int, int]) -> None:
    """One half is red, the other blue, and no row is lost at a border of strips."""
    halves = Image.new("RGB", size, "red")
    halves.paste("blue", (0, size[1] // 2, *size) if size[1] > size[0] else (size[0] // 2, 0, *size))
    made = opened(avatar_of(saved(halves.convert(mode), kind))).convert("RGB")
    expected = halves.convert(mode).convert("RGB")
    for x, y in ((0, 0), (made.width - 1, made.height - 1)):
        there = expected.getpixel((x * size[0] // made.width, y * size[1] // made.height))
        near = zip(made.getpixel((x, y)), there, strict=True)  # type: ignore[arg-type]
        assert all(abs(one - other) <= 8 for one, other in near)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_strips_give_the_same_result_as_the_whole_picture(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    large = noise("L").convert(mode).resize((1100, 1040))
    if mode == "RGBA":
        large.putalpha(noise("L").resize(large.size))
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(large, "PNG", exif=exif)
    whole = avatar_of(content)
    monkeypatch.setattr(avatars, "DECODED_BYTES_MAX", 1000)
    monkeypatch.setattr(avatars, "STRIP_BYTES", 1100 * 4 * 7)
    assert avatar_of(content) == whole
    for cut in (100, len(content) // 2, len(content) - 40):
        with pytest.raises(InvalidAvatar):
            avatar_of(content[:cut])


def test_the_first_frame_of_an_animation_is_used() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    for kind in ("PNG", "WEBP"):
        content = saved(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
        assert opened(avatar_of(content)).convert("RGB").getpixel((5, 5)) == (255, 0, 0)


@pytest.mark.parametrize("seed", range(4))
def test_a_mutated_file_is_a_picture_or_rejected(seed: int) -> None:
    refused = 0
    for content in mutations(seed, 400):
        try:
            avatar_of(content)
        except InvalidAvatar:
            refused += 1
    assert 100 < refused < 400


def test_a_mutated_png_in_strips_is_a_picture_or_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avatars, "DECODED_BYTES_MAX", 0)
    for content in mutations(99, 400):
        try:
            avatar_of(content)
        except InvalidAvatar:
            continue


@pytest.mark.parametrize(
    "error", [MemoryError, RecursionError, struct.error, SyntaxError, zlib.error, KeyError, OverflowError]
)
def test_each_error_of_a_decoder_is_an_invalid_avatar(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr(ImageFile, "load", broken)
    for kind in ("PNG", "JPEG"):
        with pytest.raises(InvalidAvatar):
            avatar_of(picture(kind))


def test_more_than_64_megapixels_are_rejected_without_decoding() -> None:
    for size in ((8001, 8000), (64_000_001, 1)):
        with pytest.raises(InvalidAvatar):
            avatar_of(png(size, 1, 0, b""))
    with pytest.raises(InvalidAvatar):
        avatar_of(bomb(8001))


def test_a_jpeg_with_many_scans_is_rejected() -> None:
    content = saved(noise("RGB"), "JPEG", progressive=True)
    scan = content.rindex(b"\xff\xda")
    end = content.rindex(b"\xff\xd9")
    avatar_of(content)
    with pytest.raises(InvalidAvatar):
        avatar_of(content[:end] + content[scan:end] * 200 + content[end:])


def large(name: str) -> bytes:
    """A picture of one colour; its decoded size does not depend on its content."""
    side = 8000
    if name == "RGB":
        return png((side, side), 8, 2, (b"\0" + b"\x20" * side * 3) * side)
    if name == "grey 16":
        return png((side, side), 16, 0, bytes(side * 2 + 1) * side)
    if name.startswith("WebP"):
        side = 4096 if name == "WebP" else 4300
        return saved(Image.new("RGB", (side, side)), "WEBP", method=0)
    side, sampling = (6000, 0) if name == "progressive of full colours" else (side, 2)
    return saved(Image.new("RGB", (side, side), "teal"), "JPEG", progressive=True, subsampling=sampling)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the peak")
@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("RGB", True), ("grey 16", True), ("progressive", True), ("progressive of full colours", False),
        ("WebP", True), ("WebP that is too large", False),
    ],
)  # fmt: skip
def test_the_largest_pictures_stay_within_the_memory_limit(tmp_path: Path, name: str, fits: bool) -> None:
    """A complete process, including the interpreter."""
    file = tmp_path / "upload"
    file.write_bytes(large(name))
    assert file.stat().st_size <= avatars.UPLOAD_BYTES_MAX
    made = subprocess.run(
        [sys.executable, "-c", MEASURED, str(file)], check=True, capture_output=True, text=True
    )
    size, peak = (int(word) for word in made.stdout.split())
    assert (size > 0) == fits
    assert peak <= PEAK_BYTES_MAX


@pytest.mark.parametrize("mode", PNG_MODES)
def test_a_png_of_each_mode_keeps_its_colours(mode: str) -> None:
    made = opened(avatar_of(saved(noise(mode), "PNG")))
    if mode != "I;16":
        shown = noise(mode).convert(made.mode)
        assert made.tobytes() == shown.tobytes()


def test_a_photo_with_an_appended_picture_is_accepted() -> None:
    """Phones append a preview or a depth map to the picture."""
    exif = Image.Exif()
    exif[0x0112] = 6
    first, second = (Image.new("RGB", (3000, 2000), colour) for colour in ("red", "blue"))
    made = opened(avatar_of(saved(first, "MPO", save_all=True, append_images=[second], exif=exif)))
    assert made.size == (341, 512)
    assert made.convert("RGB").getpixel((100, 100)) == (254, 0, 0)
