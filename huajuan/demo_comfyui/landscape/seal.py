"""The red seal: says in the picture itself that no model drew it."""

from PIL import Image, ImageDraw, ImageFont

from huajuan.demo_comfyui.landscape.brush import blurred, lay, scaled
from huajuan.demo_comfyui.landscape.mood import Mood

RED = (178, 34, 28)
PALE = (250, 244, 232)
INK = (30, 28, 28)
WORDS = ("DE", "MO")
CAPTION = "demo, no model"
READABLE_PIXELS = 8


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
