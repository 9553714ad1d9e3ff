"""Ranges of mountains, one behind the other, each darkest at its ridge and dissolving into mist below."""

import math
import random

import msgspec
from PIL import Image, ImageDraw

from huajuan.demo_comfyui.landscape.brush import (
    FINENESS,
    blurred,
    both,
    clouds,
    contrast,
    drawn,
    fade,
    lay,
    lowered,
    mixed,
    scaled,
    without,
)
from huajuan.demo_comfyui.landscape.mood import Mood
from huajuan.demo_comfyui.landscape.subject import Subject

Size = tuple[int, int]
RANGES = 5
PAGODA_RANGE = 2
STOREYS = 5
SNOW = (250, 251, 252)


class Peak(msgspec.Struct, frozen=True):
    """A summit: place and half width as parts of the picture's width, height as part of its height."""

    x: float
    height: float
    width: float
    steepness: float


class MountainRange(msgspec.Struct, frozen=True):
    """One range: its ridge, in pixels from the top for every column, and how near it is, from 0 to 1."""

    ridge: list[float]
    peaks: list[Peak]
    near: float
    base: float


def mountains(picture: Image.Image, subject: Subject, feeling: Mood, base: float) -> list[MountainRange]:
    """Paint all ranges, far to near, above `base` (a part of the height). Returns them, far to near."""
    dice = subject.dice("mountains")
    ranges = [_range(dice, feeling, picture.size, number / (RANGES - 1), base) for number in range(RANGES)]
    for each in ranges:
        _paint(picture, each, subject, feeling, dice)
    return ranges


def ridge(dice: random.Random, peaks: list[Peak], width: int, roughness: float) -> list[float]:
    """Heights for every column as parts of the picture's height."""
    rough = _rough_line(dice, width, roughness)
    columns = (column / max(1, width - 1) for column in range(width))
    return [_height(peaks, x) * (1 + 0.5 * jag) + 0.12 * jag for x, jag in zip(columns, rough, strict=True)]


def _range(dice: random.Random, feeling: Mood, size: Size, near: float, base: float) -> MountainRange:
    width, height = size
    peaks = _peaks(dice, feeling, near)
    foot = base - (1 - near) * 0.16 * base
    heights = ridge(dice, peaks, width, 0.34 + 0.1 * near)
    return MountainRange([(foot - max(0.0, high)) * height for high in heights], peaks, near, foot * height)


def _peaks(dice: random.Random, feeling: Mood, near: float) -> list[Peak]:
    tall = 1.25 if feeling.has("mountain") else 0.72 if feeling.has("sea") else 1.0
    # The middle ranges are the highest, and the nearest leave the centre open for what is behind them.
    most = tall * (0.24 + 0.2 * math.sin(math.pi * min(1.0, near + 0.25)))
    count = dice.randint(3, 6) if near < 0.8 else dice.randint(2, 3)
    return [_peak(dice, number, count, near, most) for number in range(count)]


def _peak(dice: random.Random, number: int, count: int, near: float, most: float) -> Peak:
    x = (number + dice.uniform(0.1, 0.9)) / count
    if near > 0.8:
        x = dice.choice([dice.uniform(-0.1, 0.2), dice.uniform(0.8, 1.1)])
    return Peak(x, most * dice.uniform(0.45, 1.0), dice.uniform(0.07, 0.17), dice.uniform(1.15, 2.1))


def _height(peaks: list[Peak], x: float) -> float:
    return (
        max(peak.height * math.exp(-((abs(x - peak.x) / peak.width) ** peak.steepness)) for peak in peaks)
        + 0.03
    )


def _rough_line(dice: random.Random, width: int, roughness: float) -> list[float]:
    """Fractal noise along a line, from about -roughness to roughness."""
    line = [0.0] * width
    for octave in range(2, 9):
        knots = [dice.uniform(-1, 1) for _ in range((1 << octave) + 2)]
        strength = roughness * 0.56 ** (octave - 2) / 1.6
        for column in range(width):
            line[column] += strength * _between(knots, column / width * (1 << octave))
    return line


def _between(knots: list[float], place: float) -> float:
    first = int(place)
    part = place - first
    eased = part * part * (3 - 2 * part)
    return knots[first] + (knots[first + 1] - knots[first]) * eased


def _paint(
    picture: Image.Image, each: MountainRange, subject: Subject, feeling: Mood, dice: random.Random
) -> None:
    size, unit = picture.size, min(picture.size)
    body = _body(size, each)
    depth = unit * (0.1 + 0.16 * each.near)
    mist = blurred(lowered(body, round(depth)), depth * 0.5)
    wash = without(body, scaled(mist, 0.9 - 0.3 * each.near))
    colour = mixed(feeling.palette.far, feeling.palette.near, each.near**1.3)
    lay(picture, feeling.palette.mist, body, 0.55)
    lay(picture, _coloured(size, colour, feeling, dice, each.near), wash, 0.95)
    _strokes(picture, each, subject, feeling, dice, wash)
    if feeling.has("snow"):
        _snow(picture, body, unit, dice)
    _rising_mist(picture, each, feeling, dice)


def _body(size: Size, each: MountainRange) -> Image.Image:
    def draw(pen: ImageDraw.ImageDraw, times: float) -> None:
        foot = each.base * times
        line = [(column * times, high * times) for column, high in enumerate(each.ridge)]
        pen.polygon(
            [(0, foot), *line, (size[0] * times, each.ridge[-1] * times), (size[0] * times, foot)], fill=255
        )

    return drawn(size, draw)


def _coloured(
    size: Size, colour: tuple[int, ...], feeling: Mood, dice: random.Random, near: float
) -> Image.Image:
    """The rock's colour, mottled; warmer stains low down in the blue-green school's manner."""
    rock = Image.new("RGB", size, colour)
    grain = contrast(clouds(dice, size, (24, 10), 4), 70, 190)
    lay(rock, mixed(colour, feeling.palette.ink, 0.55), grain, 0.25 + 0.3 * near)
    warm = contrast(clouds(dice, size, (5, 5), 3), 120, 220)
    lay(rock, mixed(colour, (196, 160, 104), 0.5), warm, 0.45)
    return rock


def _strokes(  # the texture strokes that give a painted rock its form
    picture: Image.Image,
    each: MountainRange,
    subject: Subject,
    feeling: Mood,
    dice: random.Random,
    wash: Image.Image,
) -> None:
    if each.near < 0.2:
        return
    lines = [line for _ in range(_stroke_count(subject)) if (line := _stroke(each, dice, picture.size))]

    def draw(pen: ImageDraw.ImageDraw, times: float) -> None:
        thick = max(1, round(min(picture.size) / 420 * FINENESS))
        for line, dark in lines:
            pen.line([(x * times, y * times) for x, y in line], fill=dark, width=thick, joint="curve")

    ink = both(drawn(picture.size, draw, soft=0.5), wash)
    lay(picture, mixed(feeling.palette.near, feeling.palette.ink, 0.6), ink, 0.35 + 0.4 * each.near)


def _stroke_count(subject: Subject) -> int:
    return 120 + 4 * min(subject.steps, 40)


def _stroke(
    each: MountainRange, dice: random.Random, size: Size
) -> tuple[list[tuple[float, float]], int] | None:
    """A line from the ridge down along the slope, away from the nearest summit."""
    width, height = size
    peak = dice.choice(each.peaks)
    x = (peak.x + dice.gauss(0, peak.width * 0.9)) * width
    if not 0 <= x < width:
        return None
    y = each.ridge[int(x)] + dice.random() ** 1.5 * 0.14 * height
    lean = (x / width - peak.x) / peak.width * 0.55 + dice.gauss(0, 0.12)
    length = dice.uniform(0.02, 0.085) * height
    line = [(x, y)]
    for _ in range(6):
        x, y = x + lean * length / 6, y + length / 6
        lean *= 1.06
        line.append((x + dice.gauss(0, 0.0012) * width, y))
    return line, dice.randint(70, 210)


def _snow(picture: Image.Image, body: Image.Image, unit: int, dice: random.Random) -> None:
    below = blurred(lowered(body, round(unit * 0.035)), unit * 0.018)
    ragged = contrast(clouds(dice, picture.size, (40, 16), 3), 60, 150)
    lay(picture, SNOW, both(without(body, below), ragged), 0.95)


def _rising_mist(picture: Image.Image, each: MountainRange, feeling: Mood, dice: random.Random) -> None:
    width, height = picture.size
    top = max(0, round(each.base - height * 0.2))
    band = Image.new("L", picture.size)
    band.paste(fade((width, max(2, round(height * 0.24))), [0, 150, 190, 40, 0]), (0, top))
    drift = contrast(clouds(dice, picture.size, (3, 12), 4), 70, 190)
    lay(picture, feeling.palette.mist, both(band, drift), 0.9 if feeling.has("mist") else 0.6)


def pagoda(picture: Image.Image, subject: Subject, feeling: Mood, ranges: list[MountainRange]) -> None:
    """Stands on a summit of the middle range."""
    dice, unit = subject.dice("pagoda"), min(picture.size)
    ridge = ranges[PAGODA_RANGE].ridge
    summits = [peak.x for peak in ranges[PAGODA_RANGE].peaks if 0.15 < peak.x < 0.85]
    x = dice.choice(summits or [0.5]) * picture.width
    foot = min(ridge[int(x)], picture.height * 0.62) + unit * 0.012
    storey = unit * dice.uniform(0.018, 0.024)

    def draw(pen: ImageDraw.ImageDraw, times: float) -> None:
        for shape in _shapes(x, foot, storey):
            pen.polygon([(px * times, py * times) for px, py in shape], fill=255)

    colour = mixed(feeling.palette.near, feeling.palette.ink, 0.6)
    lay(picture, colour, drawn(picture.size, draw), 0.9)


def _shapes(x: float, foot: float, storey: float) -> list[list[tuple[float, float]]]:
    shapes = []
    for number in range(STOREYS):
        half, top = storey * (1.05 - 0.13 * number), foot - storey * (number + 1)
        shapes.append(
            [
                (x - half * 0.62, top + storey),
                (x - half * 0.55, top),
                (x + half * 0.55, top),
                (x + half * 0.62, top + storey),
            ]
        )
        # Eaves that curve up at their ends.
        shapes.append(
            [
                *((x - half * 1.3, top - storey * 0.12), (x - half * 0.8, top + storey * 0.08)),
                *((x + half * 0.8, top + storey * 0.08), (x + half * 1.3, top - storey * 0.12)),
                *((x + half * 0.5, top - storey * 0.3), (x - half * 0.5, top - storey * 0.3)),
            ]
        )
    top = foot - storey * STOREYS
    return [*shapes, [(x - storey * 0.08, top), (x, top - storey * 1.3), (x + storey * 0.08, top)]]
