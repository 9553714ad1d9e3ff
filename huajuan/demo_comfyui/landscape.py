"""Paints a landscape scroll from a subject and a size. The same input gives the same pixels."""

import math
import random

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from huajuan.demo_comfyui.scene import (
    Mask,
    Point,
    Scene,
    Subject,
    blurred,
    both,
    clouds,
    contrast,
    fade,
    gradient,
    lay,
    mixed,
    scaled,
    scene_of,
)
from huajuan.demo_comfyui.scenery import mountains, pagoda, tree

SMALLEST_PIXELS = 48
WHITE = (255, 255, 255)
GLOW = (255, 240, 210)
RED = (178, 34, 28)
CARVED = (250, 238, 222)
PALE = (250, 244, 232)
INK = (30, 28, 28)
WORDS = ("DE", "MO")
CAPTION = "demo, no model"
READABLE_PIXELS = 8
# The shapes of boats in parts of their length, from the middle of the waterline.
FISHING_BOAT: list[list[Point]] = [
    [
        (-0.55, -0.1),
        (-0.35, -0.02),
        (0, 0.01),
        (0.35, -0.02),
        (0.6, -0.13),
        (0.4, 0.07),
        (0.1, 0.1),
        (-0.25, 0.09),
    ],
    [
        (math.cos(step * math.pi / 12) * 0.2 - 0.12, -0.02 - math.sin(step * math.pi / 12) * 0.17)
        for step in range(13)
    ],
    [(0.27, 0.0), (0.25, -0.2), (0.3, -0.25), (0.35, -0.2), (0.37, 0.0)],
    [(0.2, -0.25), (0.3, -0.33), (0.4, -0.25)],
    [(0.33, -0.14), (0.86, -0.42), (0.865, -0.405), (0.335, -0.125)],
    [(0.86, -0.42), (0.864, -0.42), (0.864, 0.02), (0.86, 0.02)],
]
SAILING_BOAT: list[list[Point]] = [
    [(-0.5, -0.06), (-0.3, 0.02), (0.4, 0.02), (0.62, -0.12), (0.42, 0.12), (-0.36, 0.11)],
    [(0.0, 0.0), (0.0, -1.1), (0.025, -1.1), (0.025, 0.0)],
    [(0.05, -0.1), (0.04, -1.05), (0.3, -0.85), (0.46, -0.5), (0.44, -0.16)],
    [(-0.06, -0.12), (-0.05, -0.8), (-0.3, -0.45), (-0.36, -0.16)],
]


def paint(subject: Subject, width: int, height: int) -> Image.Image:
    """A picture of `width` x `height` pixels, RGB."""
    scene = scene_of(subject, (max(SMALLEST_PIXELS, width), max(SMALLEST_PIXELS, height)))
    level = scene.dice("level").uniform(0.66, 0.74) if scene.has("water") else 0.97
    _sky(scene)
    ranges = mountains(scene, level)
    if scene.has("pagoda"):
        pagoda(scene, ranges)
    if scene.has("water"):
        _water(scene, level)
    if scene.has("boat"):
        _boat(scene, level)
    if scene.has("birds"):
        _birds(scene)
    tree(scene)
    _weather(scene)
    _finish(scene)
    return scene.picture if scene.size == (width, height) else scene.picture.resize((width, height))


def _sky(scene: Scene) -> None:
    dice = scene.dice("sky")
    drift = clouds(dice, scene.size, (3, 9), 5, 105 if scene.has("mist") else 128, 215)
    scene.lay(scene.palette.mist, both(drift, fade(scene.size, [150, 220, 110, 0])), 0.75)
    if scene.hour == "night":
        _stars(scene, dice)
    if scene.has("sun") or scene.has("moon"):
        _disc(scene, dice)


def _stars(scene: Scene, dice: random.Random) -> None:
    width, height = scene.size
    pen = ImageDraw.Draw(scene.picture)
    for _ in range(width * height // 2600):
        x, y = dice.random() * width, dice.random() ** 1.6 * height * 0.55
        light = dice.randint(110, 245)
        radius = dice.random() ** 3 * max(1.0, width / 420)
        box = (x - radius, y - radius, x + radius, y + radius)
        pen.ellipse(box, fill=(light, light, min(255, light + 12)))


def _disc(scene: Scene, dice: random.Random) -> None:
    width, height = scene.size
    radius, mask, colour = scene.unit * dice.uniform(0.06, 0.085), Mask(scene.size), scene.palette.disc
    x = width * dice.choice([dice.uniform(0.2, 0.36), dice.uniform(0.62, 0.8)])
    mask.dot(x, height * dice.uniform(0.15, 0.27), radius)
    disc = mask.finished()
    scene.lay(mixed(colour, GLOW, 0.45), blurred(disc, radius * 1.6), 0.95)
    scene.lay(mixed(colour, GLOW, 0.25), blurred(disc, radius * 0.5), 0.5)
    stains = clouds(dice, scene.size, (14, 14), 3, 40, 150)
    scene.lay(colour, both(disc, stains) if scene.hour == "night" else disc, 0.95)


def _birds(scene: Scene) -> None:
    """A loose flight of birds, each two strokes of the brush."""
    dice, (width, height), unit = scene.dice("birds"), scene.size, scene.unit
    x, y = dice.uniform(0.2, 0.6) * width, dice.uniform(0.16, 0.3) * height
    count = dice.randint(5, 9)
    places = [(x + dice.gauss(0, 0.09) * unit, y + dice.gauss(0, 0.035) * unit) for _ in range(count)]
    wings = [dice.uniform(0.012, 0.024) * unit for _ in places]
    tilts = [dice.uniform(-0.25, 0.25) for _ in places]
    mask = Mask(scene.size)
    for (left, top), wing, tilt in zip(places, wings, tilts, strict=True):
        for side in (-1, 1):
            parts = [step / 6 for step in range(7)]
            lifts = [math.sin(p * math.pi * 0.85) * 0.42 - p * 0.1 + side * tilt * p for p in parts]
            line = [(left + side * p * wing, top - lift * wing) for p, lift in zip(parts, lifts, strict=True)]
            mask.line(line, wing * 0.11)
    scene.lay(scene.palette.ink, mask.finished(), 0.8)


def _water(scene: Scene, level: float) -> None:
    """Fill the picture below `level` (a part of its height)."""
    top = round(scene.size[1] * level)
    size = (scene.size[0], scene.size[1] - top)
    surface = _reflection(scene, top, size)
    _ripples(surface, scene)
    mask = Image.new("L", size, 255)
    mask.paste(fade((size[0], max(2, size[1] // 10)), [90, 255]), (0, 0))
    scene.picture.paste(surface, (0, top), mask)


def _reflection(scene: Scene, top: int, size: tuple[int, int]) -> Image.Image:
    palette, height = scene.palette, max(1, min(top, size[1] * 2))
    shore = ImageOps.flip(scene.picture.crop((0, top - height, size[0], top))).resize(size)
    shore = shore.filter(ImageFilter.BoxBlur((1, max(1, size[1] // 30))))
    depth = gradient(size, [palette.mist, palette.water, mixed(palette.water, palette.near, 0.18)])
    return Image.blend(shore, depth, 0.58)


def _ripples(surface: Image.Image, scene: Scene) -> None:
    dice, masks = scene.dice("water"), (Mask(surface.size), Mask(surface.size))
    for number in range(int(min(160, 30 + surface.height / 2))):
        _ripple(masks[number % 2], dice, surface.size, 1.6 if scene.has("sea") else 1.0)
    lay(surface, scene.palette.ink, masks[0].finished(), 0.26)
    lay(surface, scene.palette.mist, masks[1].finished(), 0.6)


def _ripple(mask: Mask, dice: random.Random, size: tuple[int, int], strong: float) -> None:
    """Nearer ripples are longer, thicker and further apart."""
    width, height = size
    near = dice.random() ** 0.7
    x, y = dice.uniform(-0.1, 1.0) * width, near * height
    length = width * dice.uniform(0.04, 0.16) * (0.3 + near) * strong
    wave = height * 0.012 * strong * near
    phase = dice.uniform(0, math.tau)
    line = [(x + length * step / 12, y + wave * math.sin(phase + step * 0.9)) for step in range(13)]
    mask.line(line, max(0.5, near * width / 700), fill=150)


def _boat(scene: Scene, level: float) -> None:
    """A fisherman in a small boat, or under sail on the sea."""
    dice, (width, height) = scene.dice("boat"), scene.size
    length = scene.unit * dice.uniform(0.085, 0.12)
    # On the side the tree leaves free.
    x = width * (0.5 + scene.side * dice.uniform(0.08, 0.26))
    y = height * (level + (1 - level) * dice.uniform(0.22, 0.45))
    side, boat, mirrored = dice.choice([-1, 1]), Mask(scene.size), Mask(scene.size)
    for shape in SAILING_BOAT if scene.has("sea") else FISHING_BOAT:
        boat.polygon([(x + px * length * side, y + py * length) for px, py in shape])
        mirrored.polygon([(x + px * length * side, y + py * length * -0.7) for px, py in shape])
    scene.lay(scene.palette.ink, mirrored.finished(soft=scene.unit / 300), 0.22)
    scene.lay(scene.palette.ink, boat.finished(), 0.92)


def _weather(scene: Scene) -> None:
    dice, (width, height) = scene.dice("weather"), scene.size
    if scene.has("snow"):
        flakes = Mask(scene.size)
        for _ in range(width * height // 900):
            x, y, near = dice.random() * width, dice.random() * height, dice.random() ** 2
            flakes.dot(x, y, 0.4 + near * width / 300, fill=240)
        scene.lay((252, 253, 255), flakes.finished(soft=0.4), 0.85)
    if scene.has("rain"):
        drops = Mask(scene.size)
        for _ in range(width * height // 1100):
            x, y = dice.uniform(-0.1, 1.0) * width, dice.uniform(-0.1, 1.0) * height
            drops.line([(x, y), (x + height * 0.012, y + height * 0.05)], 0, fill=110)
        scene.lay(mixed(scene.palette.mist, WHITE, 0.5), drops.finished(soft=0.4), 0.8)


def _finish(scene: Scene) -> None:
    """Add paper texture, dark edges and the seal."""
    width, height = scene.size
    if scene.ink_only:
        scene.picture = _drained(scene.picture)
    fibres = clouds(scene.dice("paper"), scene.size, (width // 3, height // 2), 2, -900, 175)
    paper = ImageChops.multiply(Image.new("RGB", scene.size, scene.palette.paper), fibres.convert("RGB"))
    paper = Image.blend(paper, Image.new("RGB", scene.size, WHITE), 0.35)
    scene.picture = ImageChops.multiply(scene.picture, paper)
    inner = Image.new("L", scene.size)
    ImageDraw.Draw(inner).rectangle((width * 0.08, height * 0.08, width * 0.92, height * 0.92), fill=255)
    edge = ImageChops.invert(blurred(inner, scene.unit * 0.09))
    scene.lay(mixed(scene.palette.near, (96, 70, 40), 0.5), edge, 0.28)
    _seal(scene)


def _drained(picture: Image.Image) -> Image.Image:
    """Ink on paper: grey but for a breath of colour, and the red of the sun kept."""
    red, green, _ = picture.split()
    reds = contrast(ImageChops.subtract(red, green), 60, 120)
    grey = ImageEnhance.Color(picture).enhance(0.16)
    return Image.composite(picture, ImageEnhance.Brightness(grey).enhance(1.14), reds)


def _seal(scene: Scene) -> None:
    """A seal with DEMO cut into it in the lower corner, and a line of small letters beside it."""
    side = max(6, round(scene.unit * 0.075))
    margin = max(2, side // 3)
    left, top = scene.size[0] - margin - side, scene.size[1] - margin - side
    scene.picture.paste(_stamp(side), (left, top))
    _caption(scene, left - margin // 2, top + side)


def _stamp(side: int) -> Image.Image:
    large = Image.new("RGB", (side * 4, side * 4), RED)
    pen, font = ImageDraw.Draw(large), ImageFont.load_default(side * 4 * 0.44)
    for row, letters in enumerate(WORDS):
        place = (side * 2, side * 4 * (0.28 + 0.44 * row))
        pen.text(place, letters, fill=CARVED, font=font, anchor="mm", stroke_width=side // 14)
    frame = (side * 0.2, side * 0.2, side * 3.8, side * 3.8)
    pen.rectangle(frame, outline=CARVED, width=max(1, side // 8))
    return large.resize((side, side), Image.Resampling.LANCZOS)


def _caption(scene: Scene, right: int, bottom: int) -> None:
    height = max(READABLE_PIXELS, round(scene.unit * 0.026))
    font = ImageFont.load_default(height)
    if font.getlength(CAPTION) > right:
        return
    mask = Image.new("L", scene.size)
    ImageDraw.Draw(mask).text((right, bottom), CAPTION, fill=255, font=font, anchor="rd")
    # A glow beneath keeps the words legible on any ground.
    letters, glow = (PALE, INK) if scene.hour == "night" else (INK, PALE)
    scene.lay(glow, scaled(blurred(mask, height * 0.3), 2.2), 0.6)
    scene.lay(letters, mask, 0.9)
