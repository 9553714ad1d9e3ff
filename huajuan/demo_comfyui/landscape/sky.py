"""Sky, sun or moon, stars, clouds and birds."""

import math
import random

from PIL import Image, ImageDraw

from huajuan.demo_comfyui.landscape.brush import (
    blurred,
    both,
    clouds,
    contrast,
    drawn,
    fade,
    gradient,
    lay,
    mixed,
)
from huajuan.demo_comfyui.landscape.mood import Mood
from huajuan.demo_comfyui.landscape.subject import Subject


def sky(subject: Subject, feeling: Mood, size: tuple[int, int]) -> Image.Image:
    """The ground of the picture, lights included."""
    picture = gradient(size, feeling.palette.sky)
    dice = subject.dice("sky")
    _clouds(picture, feeling, dice)
    if feeling.hour == "night":
        _stars(picture, dice)
    if feeling.has("sun") or feeling.has("moon"):
        _disc(picture, feeling, dice)
    return picture


def birds(picture: Image.Image, subject: Subject, feeling: Mood) -> None:
    """A loose flight of birds, each two strokes of the brush."""
    dice, unit = subject.dice("birds"), min(picture.size)
    x, y = dice.uniform(0.2, 0.6) * picture.width, dice.uniform(0.16, 0.3) * picture.height
    places = [
        (x + dice.gauss(0, 0.09) * unit, y + dice.gauss(0, 0.035) * unit) for _ in range(dice.randint(5, 9))
    ]
    wings = [dice.uniform(0.012, 0.024) * unit for _ in places]
    tilts = [dice.uniform(-0.25, 0.25) for _ in places]

    def draw(pen: ImageDraw.ImageDraw, times: float) -> None:
        for (left, top), wing, tilt in zip(places, wings, tilts, strict=True):
            _bird(pen, left * times, top * times, wing * times, tilt)

    lay(picture, feeling.palette.ink, drawn(picture.size, draw), 0.8)


def _bird(pen: ImageDraw.ImageDraw, x: float, y: float, wing: float, tilt: float) -> None:
    for side in (-1, 1):
        points = []
        for step in range(7):
            along = step / 6
            lift = math.sin(along * math.pi * 0.85) * 0.42 - along * 0.1 + side * tilt * along
            points.append((x + side * along * wing, y - lift * wing))
        pen.line(points, fill=255, width=max(1, round(wing * 0.11)), joint="curve")


def _clouds(picture: Image.Image, feeling: Mood, dice: random.Random) -> None:
    low = 105 if feeling.has("mist") else 128
    drift = contrast(clouds(dice, picture.size, (3, 9), 5), low, 215)
    high_up = fade(picture.size, [150, 220, 110, 0])
    lay(picture, feeling.palette.mist, both(drift, high_up), 0.75)


def _stars(picture: Image.Image, dice: random.Random) -> None:
    width, height = picture.size
    pen = ImageDraw.Draw(picture)
    for _ in range(width * height // 2600):
        x, y = dice.random() * width, dice.random() ** 1.6 * height * 0.55
        light = dice.randint(110, 245)
        radius = dice.random() ** 3 * max(1.0, width / 420)
        pen.ellipse(
            (x - radius, y - radius, x + radius, y + radius), fill=(light, light, min(255, light + 12))
        )


def _disc(picture: Image.Image, feeling: Mood, dice: random.Random) -> None:
    unit = min(picture.size)
    radius = unit * dice.uniform(0.06, 0.085)
    x = picture.width * dice.choice([dice.uniform(0.2, 0.36), dice.uniform(0.62, 0.8)])
    y = picture.height * dice.uniform(0.15, 0.27)

    def draw(pen: ImageDraw.ImageDraw, times: float) -> None:
        box = [(x - radius) * times, (y - radius) * times, (x + radius) * times, (y + radius) * times]
        pen.ellipse(box, fill=255)

    disc = drawn(picture.size, draw)
    colour = feeling.palette.disc
    lay(picture, mixed(colour, (255, 240, 210), 0.45), blurred(disc, radius * 1.6), 0.95)
    lay(picture, mixed(colour, (255, 240, 210), 0.25), blurred(disc, radius * 0.5), 0.5)
    stains = contrast(clouds(dice, picture.size, (14, 14), 3), 40, 150)
    lay(picture, colour, both(disc, stains) if feeling.hour == "night" else disc, 0.95)
