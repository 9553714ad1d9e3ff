"""Water: the shore's reflection, ripples, and a boat on it."""

import math
import random

from PIL import Image, ImageDraw, ImageFilter, ImageOps

from huajuan.demo_comfyui.landscape.brush import drawn, fade, gradient, lay, mixed
from huajuan.demo_comfyui.landscape.mood import Mood
from huajuan.demo_comfyui.landscape.subject import Subject


def water(picture: Image.Image, subject: Subject, feeling: Mood, level: float) -> None:
    """Fill the picture below `level` (a part of its height)."""
    top = round(picture.height * level)
    size = (picture.width, picture.height - top)
    surface = _reflection(picture, feeling, top, size)
    _ripples(surface, feeling, subject.dice("water"))
    mask = Image.new("L", size, 255)
    mask.paste(fade((size[0], max(2, size[1] // 10)), [90, 255]), (0, 0))
    picture.paste(surface, (0, top), mask)


def boat(picture: Image.Image, subject: Subject, feeling: Mood, level: float) -> None:
    """A fisherman in a small boat, or under sail on the sea."""
    dice, unit = subject.dice("boat"), min(picture.size)
    length = unit * dice.uniform(0.085, 0.12)
    # On the side the tree leaves free.
    x = picture.width * (0.5 + subject.tree_side() * dice.uniform(0.08, 0.26))
    y = picture.height * (level + (1 - level) * dice.uniform(0.22, 0.45))
    side = dice.choice([-1, 1])
    shapes = _sailing(length, side) if feeling.has("sea") else _fishing(length, side)

    def draw(pen: ImageDraw.ImageDraw, times: float, mirror: float = 1.0) -> None:
        for shape in shapes:
            pen.polygon([((x + px) * times, (y + py * mirror) * times) for px, py in shape], fill=255)

    mirrored = drawn(picture.size, lambda pen, times: draw(pen, times, -0.7), soft=unit / 300)
    lay(picture, feeling.palette.ink, mirrored, 0.22)
    lay(picture, feeling.palette.ink, drawn(picture.size, draw), 0.92)


Shape = list[tuple[float, float]]


def _fishing(length: float, side: int) -> list[Shape]:
    hull = [
        *((-0.55, -0.1), (-0.35, -0.02), (0, 0.01), (0.35, -0.02), (0.6, -0.13)),
        *((0.4, 0.07), (0.1, 0.1), (-0.25, 0.09)),
    ]
    roof = [(math.cos(turn) * 0.2 - 0.12, -0.02 - math.sin(turn) * 0.17) for turn in _turns(0, math.pi)]
    body = [(0.27, 0.0), (0.25, -0.2), (0.3, -0.25), (0.35, -0.2), (0.37, 0.0)]
    hat = [(0.2, -0.25), (0.3, -0.33), (0.4, -0.25)]
    pole = [(0.33, -0.14), (0.86, -0.42), (0.865, -0.405), (0.335, -0.125)]
    thread = [(0.86, -0.42), (0.864, -0.42), (0.864, 0.02), (0.86, 0.02)]
    return [
        [(px * length * side, py * length) for px, py in shape]
        for shape in (hull, roof, body, hat, pole, thread)
    ]


def _sailing(length: float, side: int) -> list[Shape]:
    hull = [(-0.5, -0.06), (-0.3, 0.02), (0.4, 0.02), (0.62, -0.12), (0.42, 0.12), (-0.36, 0.11)]
    mast = [(0.0, 0.0), (0.0, -1.1), (0.025, -1.1), (0.025, 0.0)]
    sail = [(0.05, -0.1), (0.04, -1.05), (0.3, -0.85), (0.46, -0.5), (0.44, -0.16)]
    small = [(-0.06, -0.12), (-0.05, -0.8), (-0.3, -0.45), (-0.36, -0.16)]
    return [[(px * length * side, py * length) for px, py in shape] for shape in (hull, mast, sail, small)]


def _turns(start: float, end: float) -> list[float]:
    return [start + (end - start) * step / 12 for step in range(13)]


def _reflection(picture: Image.Image, feeling: Mood, top: int, size: tuple[int, int]) -> Image.Image:
    height = max(1, min(top, size[1] * 2))
    shore = ImageOps.flip(picture.crop((0, top - height, size[0], top))).resize(size)
    shore = shore.filter(ImageFilter.BoxBlur((1, max(1, size[1] // 30))))
    low = mixed(feeling.palette.water, feeling.palette.near, 0.18)
    depth = gradient(size, [feeling.palette.mist, feeling.palette.water, low])
    return Image.blend(shore, depth, 0.58)


def _ripples(surface: Image.Image, feeling: Mood, dice: random.Random) -> None:
    width, height = surface.size
    strong = 1.6 if feeling.has("sea") else 1.0
    lines = [_ripple(dice, width, height, strong) for _ in range(int(min(160, 30 + height / 2)))]
    for colour, parity in ((feeling.palette.ink, 0), (feeling.palette.mist, 1)):

        def draw(pen: ImageDraw.ImageDraw, times: float, chosen: int = parity) -> None:
            for line, thick in lines[chosen::2]:
                points = [(x * times, y * times) for x, y in line]
                pen.line(points, fill=150, width=max(1, round(thick * times)), joint="curve")

        lay(surface, colour, drawn(surface.size, draw), 0.26 if parity == 0 else 0.6)


def _ripple(
    dice: random.Random, width: int, height: int, strong: float
) -> tuple[list[tuple[float, float]], float]:
    """Nearer ripples are longer, thicker and further apart."""
    near = dice.random() ** 0.7
    x, y = dice.uniform(-0.1, 1.0) * width, near * height
    length = width * dice.uniform(0.04, 0.16) * (0.3 + near) * strong
    wave = height * 0.012 * strong * near
    phase = dice.uniform(0, math.tau)
    line = [(x + length * step / 12, y + wave * math.sin(phase + step * 0.9)) for step in range(13)]
    return line, max(0.5, near * width / 700)
