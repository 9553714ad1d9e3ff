"""Drawing primitives: gradients, noise, blurs and soft masks."""

import random
from collections.abc import Callable, Sequence

from PIL import Image, ImageChops, ImageDraw, ImageFilter

Colour = tuple[int, ...]
Size = tuple[int, int]
FINENESS = 2  # lines are drawn this many times larger, then reduced, which softens their edges


def gradient(size: Size, stops: Sequence[Colour]) -> Image.Image:
    """Colours from top to bottom, evenly spaced."""
    column = Image.new("RGB", (1, len(stops)))
    column.putdata(list(stops))
    tall = column.resize((1, max(2, size[1])), Image.Resampling.BICUBIC)
    return tall.resize(size)


def fade(size: Size, stops: Sequence[int]) -> Image.Image:
    """A mask of the given strengths from top to bottom, evenly spaced."""
    return gradient(size, [(stop,) * 3 for stop in stops]).getchannel(0)


def clouds(dice: random.Random, size: Size, cells: tuple[int, int], octaves: int = 4) -> Image.Image:
    """Fractal noise with its coarsest features `cells` to a side, finer ones weighing less."""
    noise, total = _noise(dice, size, cells), 1.0
    for octave in range(1, octaves):
        weight = 0.5**octave
        total += weight
        finer = _noise(dice, size, (cells[0] << octave, cells[1] << octave))
        noise = Image.blend(noise, finer, weight / total)
    return noise


def contrast(mask: Image.Image, low: int, high: int) -> Image.Image:
    """Stretch `low` … `high` to the whole range."""
    return mask.point([max(0, min(255, (value - low) * 255 // (high - low))) for value in range(256)])


def scaled(mask: Image.Image, factor: float) -> Image.Image:
    return mask.point([int(max(0.0, min(255.0, value * factor))) for value in range(256)])


def drawn(size: Size, draw: Callable[[ImageDraw.ImageDraw, float], None], soft: float = 0.0) -> Image.Image:
    """A mask drawn by `draw`, which gets the pen and the factor by which to multiply pixels."""
    mask = Image.new("L", (size[0] * FINENESS, size[1] * FINENESS))
    draw(ImageDraw.Draw(mask), float(FINENESS))
    mask = mask.reduce(FINENESS)
    return mask.filter(ImageFilter.GaussianBlur(soft)) if soft else mask


def blurred(mask: Image.Image, radius: float) -> Image.Image:
    """A wide blur, made small where detail would be lost anyway."""
    shrink = max(1, int(radius / 3))
    if shrink == 1 or min(mask.size) < shrink * 4:
        return mask.filter(ImageFilter.GaussianBlur(radius))
    small = mask.reduce(shrink).filter(ImageFilter.GaussianBlur(radius / shrink))
    return small.resize(mask.size, Image.Resampling.BICUBIC)


def lowered(mask: Image.Image, pixels: int) -> Image.Image:
    moved = Image.new("L", mask.size)
    moved.paste(mask, (0, pixels))
    return moved


def lay(picture: Image.Image, colour: Colour | Image.Image, mask: Image.Image, strength: float = 1.0) -> None:
    """Lay a colour, or another picture, over the picture where the mask is bright."""
    picture.paste(colour, (0, 0), mask if strength == 1.0 else scaled(mask, strength))


def both(one: Image.Image, other: Image.Image) -> Image.Image:
    return ImageChops.multiply(one, other)


def without(one: Image.Image, other: Image.Image) -> Image.Image:
    return ImageChops.multiply(one, ImageChops.invert(other))


def mixed(one: Colour, other: Colour, part: float) -> Colour:
    return tuple(round(a + (b - a) * part) for a, b in zip(one, other, strict=True))


def _noise(dice: random.Random, size: Size, cells: tuple[int, int]) -> Image.Image:
    across, down = (max(2, min(cell, side)) for cell, side in zip(cells, size, strict=True))
    grains = Image.frombytes("L", (across, down), dice.randbytes(across * down))
    return grains.resize(size, Image.Resampling.BICUBIC)
