"""A pagoda on a middle range."""

from PIL import Image, ImageDraw

from huajuan.demo_comfyui.landscape.brush import drawn, lay, mixed
from huajuan.demo_comfyui.landscape.mood import Mood
from huajuan.demo_comfyui.landscape.mountains import Range
from huajuan.demo_comfyui.landscape.subject import Subject

STOREYS = 5
RANGE = 2


def pagoda(picture: Image.Image, subject: Subject, feeling: Mood, ranges: list[Range]) -> None:
    """Stands on a summit of the middle range."""
    dice, unit = subject.dice("pagoda"), min(picture.size)
    ridge = ranges[RANGE].ridge
    summits = [peak.x for peak in ranges[RANGE].peaks if 0.15 < peak.x < 0.85]
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
