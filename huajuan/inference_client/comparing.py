"""Compare two pictures pixel by pixel."""

import io

import msgspec
from PIL import Image, ImageChops


class Comparison(msgspec.Struct, frozen=True):
    """How many of the pixels differ, and by how much at most, of 255; the size in pixels, width first."""

    size: tuple[int, int]
    pixels_differing: int
    difference_max: int

    @property
    def are_equal(self) -> bool:
        return not self.pixels_differing


def compare(png: bytes, other_png: bytes) -> Comparison:
    """Two whole PNG pictures, metadata aside. Of two sizes, every pixel counts as different."""
    one, other = _opened(png), _opened(other_png)
    if one.size != other.size:
        return Comparison(one.size, one.width * one.height, 255)
    furthest = _furthest(ImageChops.difference(one, other))
    pixels_by_difference = furthest.histogram()
    found = [difference for difference, pixels in enumerate(pixels_by_difference) if pixels]
    return Comparison(one.size, sum(pixels_by_difference[1:]), max(found, default=0))


def _opened(png: bytes) -> Image.Image:
    with Image.open(io.BytesIO(png), formats=("PNG",)) as picture:
        return picture.convert("RGBA")


def _furthest(difference: Image.Image) -> Image.Image:
    """Of each pixel, the channel that differs most."""
    first, *others = difference.split()
    for channel in others:
        first = ImageChops.lighter(first, channel)
    return first
