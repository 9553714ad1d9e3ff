"""The tree in the foreground: pine, bamboo, blossom, autumn leaves, or bare in the snow."""

import math
import random
from itertools import pairwise

import msgspec
from PIL import Image, ImageDraw

from huajuan.demo_comfyui.landscape.brush import both, clouds, contrast, drawn, lay, mixed
from huajuan.demo_comfyui.landscape.mood import Colour, Mood
from huajuan.demo_comfyui.landscape.subject import Subject

LEAVES: dict[str, list[Colour]] = {
    "spring": [(238, 156, 170), (248, 198, 204), (226, 112, 138)],
    "autumn": [(198, 62, 34), (226, 122, 40), (158, 44, 34)],
    "pine": [(26, 56, 50), (46, 90, 70), (84, 126, 92)],
    "snow": [(250, 251, 252), (236, 240, 244), (250, 251, 252)],
    "bamboo": [(44, 92, 62), (72, 122, 78), (30, 66, 52)],
}
DEPTH = 6
LEAN_MOST = 1.5  # radians from upright
Limb = tuple[float, float, float, float, float]
Spot = tuple[float, float, float]


class Growth(msgspec.Struct):
    """Limbs (from, to, thickness) and the spots where leaves sit (place, size), in pixels."""

    limbs: list[Limb]
    spots: list[Spot]


def tree(picture: Image.Image, subject: Subject, feeling: Mood) -> None:
    """A bank in a lower corner with a tree leaning into the picture."""
    dice, unit = subject.dice("tree"), min(picture.size)
    side = subject.tree_side()
    foot = (picture.width * (0.5 - 0.42 * side), picture.height * dice.uniform(0.9, 0.95))
    _bank(picture, feeling, dice, side)
    if feeling.tree == "bamboo":
        _bamboo(picture, feeling, dice, side)
        return
    growth = Growth([], [])
    _grow(
        growth, dice, foot, -math.pi / 2 + side * dice.uniform(0.12, 0.4), unit * 0.115, unit * 0.021, DEPTH
    )
    _paint(picture, growth, feeling, dice)


def _grow(
    growth: Growth,
    dice: random.Random,
    foot: tuple[float, float],
    angle: float,
    length: float,
    thick: float,
    depth: int,
) -> None:
    """A gnarled limb of several joints which forks at its end and twigs on the way."""
    x, y = foot
    for joint in range(3):
        angle = _lifted(angle + dice.gauss(0, 0.2))
        end_x, end_y = x + math.cos(angle) * length / 2.4, y + math.sin(angle) * length / 2.4
        growth.limbs.append((x, y, end_x, end_y, thick * (1 - joint * 0.1)))
        x, y = end_x, end_y
        if depth <= 3:
            growth.spots.append((x, y, length))
    if depth == 1:
        return
    for turn in (dice.uniform(-0.75, -0.25), dice.uniform(0.25, 0.75)):
        shorter = length * dice.uniform(0.66, 0.84)
        _grow(growth, dice, (x, y), angle + turn, shorter, thick * 0.66, depth - 1)


def _lifted(angle: float) -> float:
    """Limbs may lie level but not hang."""
    upright = -math.pi / 2
    return upright + max(-LEAN_MOST, min(LEAN_MOST, angle - upright))


def _paint(picture: Image.Image, growth: Growth, feeling: Mood, dice: random.Random) -> None:
    def limbs(pen: ImageDraw.ImageDraw, times: float) -> None:
        for x, y, end_x, end_y, thick in growth.limbs:
            line = (x * times, y * times, end_x * times, end_y * times)
            pen.line(line, fill=255, width=max(1, round(thick * times)))
            round_end = thick * times / 2
            pen.ellipse(
                (line[2] - round_end, line[3] - round_end, line[2] + round_end, line[3] + round_end), fill=255
            )

    bark = contrast(clouds(dice, picture.size, (60, 40), 2), 20, 130)
    wood = drawn(picture.size, limbs)
    lay(picture, mixed(feeling.palette.ink, (92, 74, 58), 0.35), wood)
    lay(picture, feeling.palette.ink, both(wood, bark), 0.9)
    _leaves(picture, growth.spots, feeling, dice)


def _leaves(picture: Image.Image, spots: list[Spot], feeling: Mood, dice: random.Random) -> None:
    unit = min(picture.size)
    for number, colour in enumerate(LEAVES[feeling.tree]):
        chosen = _leaf_places(dice, spots, feeling.tree, number, unit)

        def draw(pen: ImageDraw.ImageDraw, times: float, places: list[Spot] = chosen) -> None:
            for x, y, radius in places:
                _leaf(pen, feeling.tree, x * times, y * times, radius * times)

        lay(picture, mixed(colour, feeling.palette.near, _shade(feeling)), drawn(picture.size, draw), 0.88)


def _leaf_places(dice: random.Random, spots: list[Spot], kind: str, layer: int, unit: int) -> list[Spot]:
    """Positions for one of three colours. A pine has fewer lighter needles, on top of the darker ones."""
    if kind == "pine":
        chosen = [_scattered(dice, spot, kind, unit) for spot in spots[layer :: layer + 1] for _ in range(2)]
        return [(x, y - radius * 0.3 * layer, radius * (1 - 0.2 * layer)) for x, y, radius in chosen]
    count = 1 if kind == "snow" else 4
    return [_scattered(dice, spot, kind, unit) for spot in spots[layer::2] for _ in range(count)]


def _shade(feeling: Mood) -> float:
    return 0.5 if feeling.hour == "night" else 0.12


def _scattered(dice: random.Random, spot: Spot, kind: str, unit: int) -> Spot:
    x, y, length = spot
    spread = length * (0.22 if kind == "snow" else 0.4)
    radius = {"pine": 0.03, "spring": 0.0075, "autumn": 0.009, "snow": 0.008}[kind]
    lift = length * 0.12 if kind == "snow" else 0.0
    return (
        x + dice.gauss(0, spread),
        y - lift + dice.gauss(0, spread * 0.5),
        unit * radius * dice.uniform(0.6, 1.3),
    )


def _leaf(pen: ImageDraw.ImageDraw, kind: str, x: float, y: float, radius: float) -> None:
    if kind == "pine":
        _needles(pen, x, y, radius)
    else:
        pen.ellipse((x - radius, y - radius * 0.8, x + radius, y + radius * 0.8), fill=235)


def _needles(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float) -> None:
    """A fan of needles, as the old manuals draw pines."""
    for step in range(11):
        turn = math.pi + math.pi * step / 10
        tip = (x + math.cos(turn) * radius, y + math.sin(turn) * radius * 0.62)
        pen.line([(x, y), tip], fill=215, width=max(1, round(radius * 0.06)))


def _bank(picture: Image.Image, feeling: Mood, dice: random.Random, side: int) -> None:
    width, height = picture.size
    rises = [0.105 * math.exp(-((step / 40 / 0.3) ** 1.6)) + dice.gauss(0, 0.0035) for step in range(41)]
    line = [
        ((step / 40 if side > 0 else 1 - step / 40) * width, (1.0 - rise) * height)
        for step, rise in enumerate(rises)
    ]
    start = 0 if side > 0 else width

    def draw(pen: ImageDraw.ImageDraw, times: float) -> None:
        corner = [(start, height), *line, (width - start, height)]
        pen.polygon([(x * times, y * times) for x, y in corner], fill=255)

    mask = drawn(picture.size, draw, soft=0.6)
    lay(picture, mixed(feeling.palette.near, feeling.palette.ink, 0.45), mask)
    grain = contrast(clouds(dice, picture.size, (30, 50), 3), 120, 200)
    lay(picture, mixed(feeling.palette.near, feeling.palette.mist, 0.35), both(mask, grain), 0.5)
    if feeling.has("snow"):
        lay(picture, (248, 250, 252), both(mask, contrast(grain, 20, 160)), 0.9)


def _bamboo(picture: Image.Image, feeling: Mood, dice: random.Random, side: int) -> None:
    unit = min(picture.size)
    for number in range(5):
        colour = mixed(
            LEAVES["bamboo"][number % 3], feeling.palette.ink, 0.1 + 0.1 * (number % 3) + _shade(feeling)
        )
        stalk = _stalk(picture, dice, side)
        leaves = [_blade(dice, joint, unit) for joint in stalk[2:] for _ in range(4)]
        thick = unit * dice.uniform(0.008, 0.015)

        def draw(
            pen: ImageDraw.ImageDraw,
            times: float,
            joints: list[tuple[float, float]] = stalk,
            blades: list[list[tuple[float, float]]] = leaves,
            width: float = thick,
        ) -> None:
            for start, end in pairwise(joints):
                gap = 0.04
                upper = (end[0] - (end[0] - start[0]) * gap, end[1] - (end[1] - start[1]) * gap)
                line = [(start[0] * times, start[1] * times), (upper[0] * times, upper[1] * times)]
                pen.line(line, fill=255, width=max(1, round(width * times)))
            for blade in blades:
                pen.polygon([(x * times, y * times) for x, y in blade], fill=235)

        lay(picture, colour, drawn(picture.size, draw), 0.85)


def _stalk(picture: Image.Image, dice: random.Random, side: int) -> list[tuple[float, float]]:
    x = picture.width * (0.5 - side * dice.uniform(0.3, 0.48))
    y, lean = picture.height * 1.0, side * dice.uniform(0.0, 0.14)
    joints = [(x, y)]
    for _ in range(9):
        step = picture.height * dice.uniform(0.07, 0.1)
        lean += side * dice.uniform(0.0, 0.03)
        x, y = x + lean * step, y - step
        joints.append((x, y))
    return joints


def _blade(dice: random.Random, joint: tuple[float, float], unit: int) -> list[tuple[float, float]]:
    """A leaf hanging down and outwards, a long narrow lozenge."""
    turn = dice.choice([dice.uniform(0.1, 0.9), dice.uniform(2.2, 3.0)])
    length = unit * dice.uniform(0.05, 0.1)
    across, down = math.cos(turn), math.sin(turn)
    x, y = joint
    x, y = x + across * length * 0.25, y + down * length * 0.1
    half = length * 0.085
    middle_x, middle_y = x + across * length * 0.35, y + down * length * 0.35
    tip = (x + across * length, y + down * length)
    return [
        (x, y),
        (middle_x - down * half, middle_y + across * half),
        tip,
        (middle_x + down * half, middle_y - across * half),
    ]
