"""The mountains of a landscape with a pagoda, one range behind the other, and the tree in the foreground."""

import math
import random
from itertools import pairwise

import msgspec
from PIL import Image

from huajuan.demo_comfyui.scene import (
    Colour,
    Mask,
    Point,
    Scene,
    blurred,
    both,
    clouds,
    contrast,
    fade,
    lay,
    lowered,
    mixed,
    scaled,
    without,
)

RANGES = 5
PAGODA_RANGE = 2
STOREYS = 5
SNOW = (250, 251, 252)
WARM = (196, 160, 104)
LEAVES: dict[str, list[Colour]] = {
    "spring": [(238, 156, 170), (248, 198, 204), (226, 112, 138)],
    "autumn": [(198, 62, 34), (226, 122, 40), (158, 44, 34)],
    "pine": [(26, 56, 50), (46, 90, 70), (84, 126, 92)],
    "snow": [(250, 251, 252), (236, 240, 244), (250, 251, 252)],
    "bamboo": [(44, 92, 62), (72, 122, 78), (30, 66, 52)],
}
LEAF_RADIUS = {"pine": 0.03, "spring": 0.0075, "autumn": 0.009, "snow": 0.008}
BARK = (92, 74, 58)
DEPTH = 6
LEAN_MOST = 1.5  # radians from upright
Spot = tuple[float, float, float]


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


def mountains(scene: Scene, base: float) -> list[MountainRange]:
    """Paint ranges above `base` (a part of the height), darkest at the ridge. Returns them, far to near."""
    dice = scene.dice("mountains")
    ranges = [_range(dice, scene, number / (RANGES - 1), base) for number in range(RANGES)]
    for each in ranges:
        _paint(scene, each, dice)
    return ranges


def _range(dice: random.Random, scene: Scene, near: float, base: float) -> MountainRange:
    width, height = scene.size
    peaks = _peaks(dice, scene, near)
    foot = base - (1 - near) * 0.16 * base
    ridge = []
    for column, jag in enumerate(_rough_line(dice, width, 0.34 + 0.1 * near)):
        high = _height(peaks, column / max(1, width - 1)) * (1 + 0.5 * jag) + 0.12 * jag
        ridge.append((foot - max(0.0, high)) * height)
    return MountainRange(ridge, peaks, near, foot * height)


def _peaks(dice: random.Random, scene: Scene, near: float) -> list[Peak]:
    tall = 1.25 if scene.has("mountain") else 0.72 if scene.has("sea") else 1.0
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
    return 0.03 + max(p.height * math.exp(-((abs(x - p.x) / p.width) ** p.steepness)) for p in peaks)


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
    return knots[first] + (knots[first + 1] - knots[first]) * (part * part * (3 - 2 * part))


def _paint(scene: Scene, each: MountainRange, dice: random.Random) -> None:
    body = _body(scene, each)
    depth = scene.unit * (0.1 + 0.16 * each.near)
    mist = blurred(lowered(body, round(depth)), depth * 0.5)
    wash = without(body, scaled(mist, 0.9 - 0.3 * each.near))
    scene.lay(scene.palette.mist, body, 0.55)
    scene.lay(_rock(scene, each.near, dice), wash, 0.95)
    if each.near >= 0.2:
        _strokes(scene, each, dice, wash)
    if scene.has("snow"):
        below = blurred(lowered(body, round(scene.unit * 0.035)), scene.unit * 0.018)
        ragged = clouds(dice, scene.size, (40, 16), 3, 60, 150)
        scene.lay(SNOW, both(without(body, below), ragged), 0.95)
    _rising_mist(scene, each, dice)


def _body(scene: Scene, each: MountainRange) -> Image.Image:
    width, mask = scene.size[0], Mask(scene.size)
    line = [*enumerate(each.ridge), (width, each.ridge[-1])]
    mask.polygon([(0, each.base), *line, (width, each.base)])
    return mask.finished()


def _rock(scene: Scene, near: float, dice: random.Random) -> Image.Image:
    """The rock's colour, mottled; warmer stains low down in the blue-green school's manner."""
    colour = mixed(scene.palette.far, scene.palette.near, near**1.3)
    rock = Image.new("RGB", scene.size, colour)
    grain = clouds(dice, scene.size, (24, 10), 4, 70, 190)
    lay(rock, mixed(colour, scene.palette.ink, 0.55), grain, 0.25 + 0.3 * near)
    lay(rock, mixed(colour, WARM, 0.5), clouds(dice, scene.size, (5, 5), 3, 120, 220), 0.45)
    return rock


def _strokes(scene: Scene, each: MountainRange, dice: random.Random, wash: Image.Image) -> None:
    """The texture strokes that give a painted rock its form."""
    mask = Mask(scene.size)
    for _ in range(120 + 4 * min(scene.subject.steps, 40)):
        _stroke(mask, each, dice, scene)
    ink = both(mask.finished(soft=0.5), wash)
    scene.lay(mixed(scene.palette.near, scene.palette.ink, 0.6), ink, 0.35 + 0.4 * each.near)


def _stroke(mask: Mask, each: MountainRange, dice: random.Random, scene: Scene) -> None:
    """A line from the ridge down along the slope, away from the nearest summit."""
    width, height = scene.size
    peak = dice.choice(each.peaks)
    x = (peak.x + dice.gauss(0, peak.width * 0.9)) * width
    if not 0 <= x < width:
        return
    y = each.ridge[int(x)] + dice.random() ** 1.5 * 0.14 * height
    lean = (x / width - peak.x) / peak.width * 0.55 + dice.gauss(0, 0.12)
    length = dice.uniform(0.02, 0.085) * height
    line = [(x, y)]
    for _ in range(6):
        x, y = x + lean * length / 6, y + length / 6
        lean *= 1.06
        line.append((x + dice.gauss(0, 0.0012) * width, y))
    mask.line(line, scene.unit / 420, fill=dice.randint(70, 210))


def _rising_mist(scene: Scene, each: MountainRange, dice: random.Random) -> None:
    width, height = scene.size
    band = Image.new("L", scene.size)
    strengths = fade((width, max(2, round(height * 0.24))), [0, 150, 190, 40, 0])
    band.paste(strengths, (0, max(0, round(each.base - height * 0.2))))
    drift = clouds(dice, scene.size, (3, 12), 4, 70, 190)
    scene.lay(scene.palette.mist, both(band, drift), 0.9 if scene.has("mist") else 0.6)


def pagoda(scene: Scene, ranges: list[MountainRange]) -> None:
    """Stands on a summit of the middle range."""
    dice, (width, height) = scene.dice("pagoda"), scene.size
    middle, mask = ranges[PAGODA_RANGE], Mask(scene.size)
    x = dice.choice([peak.x for peak in middle.peaks if 0.15 < peak.x < 0.85] or [0.5]) * width
    foot = min(middle.ridge[int(x)], height * 0.62) + scene.unit * 0.012
    storey = scene.unit * dice.uniform(0.018, 0.024)
    for number in range(STOREYS):
        half, top = storey * (1.05 - 0.13 * number), foot - storey * (number + 1)
        wall = [(half * 0.62, top + storey), (half * 0.55, top)]
        # Eaves that curve up at their ends.
        eaves = [
            *((half * 0.8, top + storey * 0.08), (half * 1.3, top - storey * 0.12)),
            (half * 0.5, top - storey * 0.3),
        ]
        mask.polygon(_mirrored(x, wall))
        mask.polygon(_mirrored(x, eaves))
    top = foot - storey * STOREYS
    mask.polygon([(x - storey * 0.08, top), (x, top - storey * 1.3), (x + storey * 0.08, top)])
    scene.lay(mixed(scene.palette.near, scene.palette.ink, 0.6), mask.finished(), 0.9)


def _mirrored(x: float, right: list[Point]) -> list[Point]:
    """A shape with the axis `x`, from the places of its right half."""
    return [*((x + away, y) for away, y in right), *((x - away, y) for away, y in reversed(right))]


def tree(scene: Scene) -> None:
    """A bank in a corner with a tree leaning in: pine, bamboo, blossom, autumn leaves, or bare in snow."""
    dice, (width, height) = scene.dice("tree"), scene.size
    foot = (width * (0.5 - 0.42 * scene.side), height * dice.uniform(0.9, 0.95))
    _bank(scene, dice)
    if scene.tree == "bamboo":
        _bamboo(scene, dice)
        return
    wood, spots = Mask(scene.size), list[Spot]()
    angle = -math.pi / 2 + scene.side * dice.uniform(0.12, 0.4)
    _grow(wood, spots, dice, foot, angle, scene.unit * 0.115, scene.unit * 0.021, DEPTH)
    bark, limbs = clouds(dice, scene.size, (60, 40), 2, 20, 130), wood.finished()
    scene.lay(mixed(scene.palette.ink, BARK, 0.35), limbs)
    scene.lay(scene.palette.ink, both(limbs, bark), 0.9)
    _leaves(scene, spots, dice)


def _grow(
    wood: Mask,
    spots: list[Spot],
    dice: random.Random,
    foot: Point,
    angle: float,
    length: float,
    thick: float,
    depth: int,
) -> None:
    """A gnarled limb of several joints that forks at its end. `spots` get the places and spread of leaves."""
    for joint in range(3):
        # Limbs may lie level but not hang.
        lean = angle + dice.gauss(0, 0.2) + math.pi / 2
        angle = -math.pi / 2 + max(-LEAN_MOST, min(LEAN_MOST, lean))
        end = (foot[0] + math.cos(angle) * length / 2.4, foot[1] + math.sin(angle) * length / 2.4)
        wood.line([foot, end], thick * (1 - joint * 0.1))
        wood.dot(*end, thick * (1 - joint * 0.1) / 2)
        foot = end
        if depth <= 3:
            spots.append((*end, length))
    if depth > 1:
        for turn in (dice.uniform(-0.75, -0.25), dice.uniform(0.25, 0.75)):
            shorter = length * dice.uniform(0.66, 0.84)
            _grow(wood, spots, dice, foot, angle + turn, shorter, thick * 0.66, depth - 1)


def _leaves(scene: Scene, spots: list[Spot], dice: random.Random) -> None:
    for layer, colour in enumerate(LEAVES[scene.tree]):
        mask = Mask(scene.size)
        for x, y, radius in _leaf_places(dice, spots, scene, layer):
            if scene.tree == "pine":
                _needles(mask, x, y, radius)
            else:
                mask.dot(x, y, radius, flatness=0.8, fill=235)
        scene.lay(mixed(colour, scene.palette.near, _shade(scene)), mask.finished(), 0.88)


def _shade(scene: Scene) -> float:
    return 0.5 if scene.hour == "night" else 0.12


def _leaf_places(dice: random.Random, spots: list[Spot], scene: Scene, layer: int) -> list[Spot]:
    """Positions for one of three colours. A pine has fewer lighter needles, on top of the darker ones."""
    if scene.tree == "pine":
        chosen = [_scattered(dice, spot, scene) for spot in spots[layer :: layer + 1] for _ in range(2)]
        return [(x, y - radius * 0.3 * layer, radius * (1 - 0.2 * layer)) for x, y, radius in chosen]
    count = 1 if scene.tree == "snow" else 4
    return [_scattered(dice, spot, scene) for spot in spots[layer::2] for _ in range(count)]


def _scattered(dice: random.Random, spot: Spot, scene: Scene) -> Spot:
    x, y, length = spot
    spread, lift = (0.22 * length, 0.12 * length) if scene.tree == "snow" else (0.4 * length, 0.0)
    x, y = x + dice.gauss(0, spread), y - lift + dice.gauss(0, spread * 0.5)
    return x, y, scene.unit * LEAF_RADIUS[scene.tree] * dice.uniform(0.6, 1.3)


def _needles(mask: Mask, x: float, y: float, radius: float) -> None:
    """A fan of needles, as the old manuals draw pines."""
    for step in range(11):
        turn = math.pi + math.pi * step / 10
        tip = (x + math.cos(turn) * radius, y + math.sin(turn) * radius * 0.62)
        mask.line([(x, y), tip], radius * 0.06, fill=215)


def _bank(scene: Scene, dice: random.Random) -> None:
    width, height = scene.size
    rises = [0.105 * math.exp(-((step / 40 / 0.3) ** 1.6)) + dice.gauss(0, 0.0035) for step in range(41)]
    parts = [step / 40 if scene.side > 0 else 1 - step / 40 for step in range(41)]
    start, shape = 0 if scene.side > 0 else width, Mask(scene.size)
    line = [(part * width, (1.0 - rise) * height) for part, rise in zip(parts, rises, strict=True)]
    shape.polygon([(start, height), *line, (width - start, height)])
    mask = shape.finished(soft=0.6)
    scene.lay(mixed(scene.palette.near, scene.palette.ink, 0.45), mask)
    grain = clouds(dice, scene.size, (30, 50), 3, 120, 200)
    scene.lay(mixed(scene.palette.near, scene.palette.mist, 0.35), both(mask, grain), 0.5)
    if scene.has("snow"):
        scene.lay((248, 250, 252), both(mask, contrast(grain, 20, 160)), 0.9)


def _bamboo(scene: Scene, dice: random.Random) -> None:
    for number in range(5):
        darker = 0.1 + 0.1 * (number % 3) + _shade(scene)
        colour = mixed(LEAVES["bamboo"][number % 3], scene.palette.ink, darker)
        stalk, mask = _stalk(scene, dice), Mask(scene.size)
        blades = [_blade(dice, joint, scene.unit) for joint in stalk[2:] for _ in range(4)]
        thick = scene.unit * dice.uniform(0.008, 0.015)
        for (x, y), (end_x, end_y) in pairwise(stalk):
            mask.line([(x, y), (end_x - (end_x - x) * 0.04, end_y - (end_y - y) * 0.04)], thick)
        for blade in blades:
            mask.polygon(blade, fill=235)
        scene.lay(colour, mask.finished(), 0.85)


def _stalk(scene: Scene, dice: random.Random) -> list[Point]:
    width, height = scene.size
    x, y = width * (0.5 - scene.side * dice.uniform(0.3, 0.48)), height * 1.0
    lean = scene.side * dice.uniform(0.0, 0.14)
    joints = [(x, y)]
    for _ in range(9):
        step = height * dice.uniform(0.07, 0.1)
        lean += scene.side * dice.uniform(0.0, 0.03)
        x, y = x + lean * step, y - step
        joints.append((x, y))
    return joints


def _blade(dice: random.Random, joint: Point, unit: int) -> list[Point]:
    """A leaf hanging down and outwards, a long narrow lozenge."""
    turn = dice.choice([dice.uniform(0.1, 0.9), dice.uniform(2.2, 3.0)])
    length = unit * dice.uniform(0.05, 0.1)
    across, down = math.cos(turn) * length, math.sin(turn) * length
    aside, upright = math.cos(turn) * (length * 0.085), math.sin(turn) * (length * 0.085)
    x, y = joint[0] + across * 0.25, joint[1] + down * 0.1
    return [
        (x, y),
        (x + across * 0.35 - upright, y + down * 0.35 + aside),
        (x + across, y + down),
        (x + across * 0.35 + upright, y + down * 0.35 - aside),
    ]
