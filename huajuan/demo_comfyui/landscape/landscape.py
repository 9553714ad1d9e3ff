"""Paints a landscape scroll from a subject and a size. The same input gives the same pixels."""

import random

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFont

from huajuan.demo_comfyui.landscape.brush import blurred, clouds, contrast, drawn, lay, mixed, scaled
from huajuan.demo_comfyui.landscape.mood import Mood, mood
from huajuan.demo_comfyui.landscape.mountains import mountains, pagoda
from huajuan.demo_comfyui.landscape.sky import birds, sky
from huajuan.demo_comfyui.landscape.subject import Subject
from huajuan.demo_comfyui.landscape.trees import tree
from huajuan.demo_comfyui.landscape.water import boat, water

SMALLEST_PIXELS = 48
RED = (178, 34, 28)
PALE = (250, 244, 232)
INK = (30, 28, 28)
WORDS = ("DE", "MO")
CAPTION = "demo, no model"
READABLE_PIXELS = 8


def paint(subject: Subject, width: int, height: int) -> Image.Image:
    """A picture of `width` x `height` pixels, RGB."""
    large = (max(SMALLEST_PIXELS, width), max(SMALLEST_PIXELS, height))
    picture = _painted(subject, large)
    return picture if picture.size == (width, height) else picture.resize((width, height))


def _painted(subject: Subject, size: tuple[int, int]) -> Image.Image:
    feeling = mood(subject)
    level = subject.dice("level").uniform(0.66, 0.74) if feeling.has("water") else 0.97
    picture = sky(subject, feeling, size)
    ranges = mountains(picture, subject, feeling, level)
    if feeling.has("pagoda"):
        pagoda(picture, subject, feeling, ranges)
    if feeling.has("water"):
        water(picture, subject, feeling, level)
    _cast(picture, subject, feeling, level)
    _weather(picture, feeling, subject.dice("weather"))
    return _finished(picture, feeling, subject.dice("paper"))


def _cast(picture: Image.Image, subject: Subject, feeling: Mood, level: float) -> None:
    if feeling.has("boat"):
        boat(picture, subject, feeling, level)
    if feeling.has("birds"):
        birds(picture, subject, feeling)
    tree(picture, subject, feeling)


def _weather(picture: Image.Image, feeling: Mood, dice: random.Random) -> None:
    if feeling.has("snow"):
        _falling_snow(picture, dice)
    if feeling.has("rain"):
        _falling_rain(picture, feeling, dice)


def _falling_snow(picture: Image.Image, dice: random.Random) -> None:
    width, height = picture.size
    flakes = [
        (dice.random() * width, dice.random() * height, dice.random() ** 2)
        for _ in range(width * height // 900)
    ]

    def draw(pen: ImageDraw.ImageDraw, times: float) -> None:
        for x, y, near in flakes:
            radius = (0.4 + near * width / 300) * times
            pen.ellipse(
                (x * times - radius, y * times - radius, x * times + radius, y * times + radius), fill=240
            )

    lay(picture, (252, 253, 255), drawn(picture.size, draw, soft=0.4), 0.85)


def _falling_rain(picture: Image.Image, feeling: Mood, dice: random.Random) -> None:
    width, height = picture.size
    drops = [
        (dice.uniform(-0.1, 1.0) * width, dice.uniform(-0.1, 1.0) * height)
        for _ in range(width * height // 1100)
    ]

    def draw(pen: ImageDraw.ImageDraw, times: float) -> None:
        for x, y in drops:
            end = (x + height * 0.012, y + height * 0.05)
            pen.line((x * times, y * times, end[0] * times, end[1] * times), fill=110, width=1)

    lay(picture, mixed(feeling.palette.mist, (255, 255, 255), 0.5), drawn(picture.size, draw, soft=0.4), 0.8)


def _finished(picture: Image.Image, feeling: Mood, dice: random.Random) -> Image.Image:
    """Add paper texture, dark edges and the seal."""
    if feeling.ink_only:
        picture = _drained(picture)
    fibres = contrast(clouds(dice, picture.size, (picture.width // 3, picture.height // 2), 2), -900, 175)
    paper = ImageChops.multiply(Image.new("RGB", picture.size, feeling.palette.paper), fibres.convert("RGB"))
    picture = ImageChops.multiply(
        picture, Image.blend(paper, Image.new("RGB", picture.size, (255,) * 3), 0.35)
    )
    _darken_edges(picture, feeling)
    seal(picture, feeling)
    return picture


def _drained(picture: Image.Image) -> Image.Image:
    """Ink on paper: grey but for a breath of colour, and the red of the sun kept."""
    red, green, _ = picture.split()
    reds = contrast(ImageChops.subtract(red, green), 60, 120)
    grey = ImageEnhance.Color(picture).enhance(0.16)
    return Image.composite(picture, ImageEnhance.Brightness(grey).enhance(1.14), reds)


def _darken_edges(picture: Image.Image, feeling: Mood) -> None:
    width, height = picture.size
    inner = Image.new("L", picture.size)
    ImageDraw.Draw(inner).rectangle((width * 0.08, height * 0.08, width * 0.92, height * 0.92), fill=255)
    edge = ImageChops.invert(blurred(inner, min(picture.size) * 0.09))
    lay(picture, mixed(feeling.palette.near, (96, 70, 40), 0.5), edge, 0.28)


def seal(picture: Image.Image, feeling: Mood) -> None:
    """A seal with DEMO cut into it in the lower corner, and a line of small letters beside it."""
    side = max(6, round(min(picture.size) * 0.075))
    margin = max(2, side // 3)
    left, top = picture.width - margin - side, picture.height - margin - side
    picture.paste(_stamp(side), (left, top))
    _caption(picture, feeling, left - margin // 2, top + side)


def _stamp(side: int) -> Image.Image:
    large = Image.new("RGB", (side * 4, side * 4), RED)
    pen = ImageDraw.Draw(large)
    font = ImageFont.load_default(side * 4 * 0.44)
    for row, letters in enumerate(WORDS):
        place = (side * 2, side * 4 * (0.28 + 0.44 * row))
        pen.text(place, letters, fill=(250, 238, 222), font=font, anchor="mm", stroke_width=side // 14)
    pen.rectangle(
        (side * 0.2, side * 0.2, side * 3.8, side * 3.8), outline=(250, 238, 222), width=max(1, side // 8)
    )
    return large.resize((side, side), Image.Resampling.LANCZOS)


def _caption(picture: Image.Image, feeling: Mood, right: int, bottom: int) -> None:
    height = max(READABLE_PIXELS, round(min(picture.size) * 0.026))
    font = ImageFont.load_default(height)
    if font.getlength(CAPTION) > right:
        return
    mask = Image.new("L", picture.size)
    ImageDraw.Draw(mask).text((right, bottom), CAPTION, fill=255, font=font, anchor="rd")
    # A glow beneath keeps the words legible on any ground.
    dark = feeling.hour == "night"
    letters, glow = (PALE, INK) if dark else (INK, PALE)
    lay(picture, glow, scaled(blurred(mask, height * 0.3), 2.2), 0.6)
    lay(picture, letters, mask, 0.9)
