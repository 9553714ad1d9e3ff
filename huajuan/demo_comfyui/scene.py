"""The scene of a landscape: its motifs, light and colours, and the brush that paints it."""

import hashlib
import random
import re
from collections.abc import Iterable, Sequence

import msgspec
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Colour = tuple[int, ...]
Size = tuple[int, int]
Point = tuple[float, float]
FINENESS = 2
WORDS = {
    "night": "night midnight stars starry 夜 晚 星",
    "moon": "moon moonlight 月",
    "sun": "sun sunny sunlight 日 阳 晴",
    "dusk": "sunset dusk evening twilight 黄昏 夕 暮 霞",
    "dawn": "dawn sunrise morning 晨 晓 朝 曙",
    "snow": "snow snowy winter ice frost 雪 冬 冰 寒",
    "autumn": "autumn fall maple maples 秋 枫",
    "spring": "spring blossom blossoms peach plum cherry flower flowers garden 春 花 桃 梅 樱",
    "bamboo": "bamboo panda 竹",
    "pine": "pine pines forest forests tree trees wood woods jungle 松 林 树 森",
    "sea": "sea ocean waves beach 海 浪",
    "water": "lake river stream waterfall water pond 江 河 湖 水 溪 瀑",
    "mountain": "mountain mountains hill hills peak peaks cliff valley 山 峰 岭 崖 谷",
    "boat": "boat boats ship sail fisherman fishing 舟 船 帆 渔",
    "birds": "bird birds crane cranes goose geese 鸟 雁 鹤 燕",
    "pagoda": "temple pagoda tower house palace village 塔 寺 楼 亭 宫 村",
    "rain": "rain rainy storm 雨",
    "mist": "mist misty fog cloud clouds cloudy 雾 云 烟 霭",
}


class Subject(msgspec.Struct, frozen=True):
    """Everything that a picture depends on, except its size."""

    prompt: str
    seed: int
    steps: int
    sampler: str

    def variant(self, number: int) -> "Subject":
        """The picture of that number in a batch."""
        return msgspec.structs.replace(self, seed=(self.seed + number) % 2**64)

    def dice(self, topic: str) -> random.Random:
        """A random generator for a part of the picture, the same for the same subject."""
        digest = hashlib.sha256(msgspec.json.encode([topic, self])).digest()
        return random.Random(digest)  # noqa: S311 - it paints, it keeps no secrets

    def motifs(self) -> set[str]:
        """The motifs named in the prompt; Chinese words anywhere, others as whole words."""
        text = self.prompt.lower()
        latin = set(re.findall(r"[a-z]+", text))
        return {
            motif for motif, words in WORDS.items() if any(_occurs(w, text, latin) for w in words.split())
        }


def _occurs(word: str, text: str, latin: set[str]) -> bool:
    return word in latin if word.isascii() else word in text


class Palette(msgspec.Struct, frozen=True):
    """Colours from the top of the sky down to the ink of the foreground."""

    sky: tuple[Colour, Colour, Colour]
    far: Colour
    near: Colour
    water: Colour
    mist: Colour
    ink: Colour
    disc: Colour
    paper: Colour = (250, 243, 228)


PALETTES = {
    "day": Palette(
        ((178, 203, 208), (222, 228, 216), (248, 238, 214)),
        (156, 181, 186), (42, 72, 76), (168, 196, 196), (244, 238, 222), (28, 36, 38), (214, 66, 44),
    ),
    "dawn": Palette(
        ((164, 186, 206), (240, 206, 186), (252, 226, 186)),
        (186, 172, 186), (66, 66, 92), (206, 190, 186), (253, 232, 206), (38, 32, 44), (238, 108, 72),
    ),
    "dusk": Palette(
        ((98, 92, 128), (222, 132, 98), (250, 200, 128)),
        (170, 116, 122), (54, 38, 58), (196, 134, 108), (250, 198, 142), (32, 22, 34), (224, 62, 38),
    ),
    "night": Palette(
        ((14, 22, 44), (32, 52, 82), (78, 102, 124)),
        (68, 92, 118), (12, 20, 34), (38, 58, 84), (98, 122, 142), (6, 10, 20), (250, 242, 212),
        (236, 236, 232),
    ),
    "snow": Palette(
        ((188, 198, 208), (218, 224, 228), (240, 240, 236)),
        (176, 188, 200), (74, 86, 102), (178, 194, 206), (244, 244, 242), (34, 38, 48), (206, 84, 66),
        (248, 247, 243),
    ),
    "rain": Palette(
        ((138, 150, 154), (178, 186, 184), (208, 210, 202)),
        (150, 162, 164), (40, 52, 56), (152, 166, 168), (212, 214, 206), (24, 30, 32), (186, 90, 76),
        (242, 240, 230),
    ),
}  # fmt: skip

SEASONS = {
    "autumn": {"near": (92, 62, 44), "far": (190, 164, 140)},
    "spring": {"near": (52, 88, 70), "far": (172, 190, 178)},
}
BLUE_GREEN = {"near": (20, 92, 96), "far": (116, 172, 168)}
GOLD = {"sky": ((206, 190, 146), (234, 216, 168), (250, 236, 198)), "mist": (248, 234, 198)}
CHANCES = {"water": 0.75, "boat": 0.45, "birds": 0.55, "pagoda": 0.35, "mist": 0.5}


class Scene(msgspec.Struct):
    """A picture that is being painted. With `ink_only` only the sun and the seal are coloured.

    `tree` is the kind of tree in the foreground, and `side` its side: 1 for the left, -1 for the right.
    """

    subject: Subject
    picture: Image.Image
    palette: Palette
    motifs: set[str]
    hour: str
    tree: str
    side: int
    ink_only: bool

    @property
    def size(self) -> Size:
        return self.picture.size

    @property
    def unit(self) -> int:
        return min(self.picture.size)

    def dice(self, topic: str) -> random.Random:
        return self.subject.dice(topic)

    def has(self, motif: str) -> bool:
        return motif in self.motifs

    def lay(self, colour: Colour | Image.Image, mask: Image.Image, strength: float = 1.0) -> None:
        lay(self.picture, colour, mask, strength)


def scene_of(subject: Subject, size: Size) -> Scene:
    """An empty sky. The sampler chooses the school: washes of colour, ink, or mineral blue and green."""
    dice, named = subject.dice("mood"), subject.motifs()
    hour = _hour(named, dice)
    motifs = named | _added(named, hour, dice)
    palette = _palette(hour, motifs, is_mineral=subject.sampler == "lms")
    return Scene(
        subject,
        gradient(size, palette.sky),
        palette,
        motifs,
        hour,
        tree=_tree(motifs, dice),
        side=subject.dice("side").choice([-1, 1]),
        ink_only=subject.sampler.startswith("ipndm"),
    )


def _hour(named: set[str], dice: random.Random) -> str:
    for hour in ("night", "dusk", "dawn", "snow", "rain"):
        if hour in named:
            return hour
    if "moon" in named:
        return "night"
    return "day" if "sun" in named else dice.choice(["day", "day", "day", "dawn", "dusk"])


def _added(named: set[str], hour: str, dice: random.Random) -> set[str]:
    added = {"moon" if hour == "night" else "sun"} if hour != "rain" else set()
    added |= {motif for motif, chance in CHANCES.items() if dice.random() < chance}
    return added | {"water"} if {"boat", "sea"} & (named | added) else added


def _palette(hour: str, motifs: set[str], *, is_mineral: bool) -> Palette:
    season = next((SEASONS[name] for name in SEASONS if name in motifs), {})
    mineral = BLUE_GREEN | (GOLD if hour == "day" else {}) if is_mineral else {}
    return msgspec.structs.replace(PALETTES[hour], **season | mineral)


def _tree(motifs: set[str], dice: random.Random) -> str:
    for tree in ("bamboo", "spring", "autumn", "pine", "snow"):
        if tree in motifs:
            return tree
    return dice.choice(["pine", "pine", "spring", "autumn", "bamboo"])


class Mask:
    """A mask that is drawn `FINENESS` times larger, then reduced, which softens its edges."""

    def __init__(self, size: Size) -> None:
        self._large = Image.new("L", (size[0] * FINENESS, size[1] * FINENESS))
        self._pen = ImageDraw.Draw(self._large)

    def polygon(self, points: Iterable[Point], fill: int = 255) -> None:
        self._pen.polygon(_enlarged(points), fill=fill)

    def line(self, points: Iterable[Point], thick: float, fill: int = 255) -> None:
        self._pen.line(_enlarged(points), fill=fill, width=max(1, round(thick * FINENESS)), joint="curve")

    def dot(self, x: float, y: float, radius: float, flatness: float = 1.0, fill: int = 255) -> None:
        high = radius * flatness
        self._pen.ellipse(_enlarged([(x - radius, y - high), (x + radius, y + high)]), fill=fill)

    def finished(self, soft: float = 0.0) -> Image.Image:
        mask = self._large.reduce(FINENESS)
        return mask.filter(ImageFilter.GaussianBlur(soft)) if soft else mask


def _enlarged(points: Iterable[Point]) -> list[Point]:
    return [(x * FINENESS, y * FINENESS) for x, y in points]


def gradient(size: Size, stops: Sequence[Colour]) -> Image.Image:
    """Colours from top to bottom, evenly spaced."""
    column = Image.new("RGB", (1, len(stops)))
    column.putdata(list(stops))
    return column.resize((1, max(2, size[1])), Image.Resampling.BICUBIC).resize(size)


def fade(size: Size, stops: Sequence[int]) -> Image.Image:
    """A mask of the given strengths from top to bottom, evenly spaced."""
    return gradient(size, [(stop,) * 3 for stop in stops]).getchannel(0)


def clouds(dice: random.Random, size: Size, cells: Size, octaves: int, low: int, high: int) -> Image.Image:
    """Fractal noise with its coarsest features `cells` to a side, stretched from `low` … `high`."""
    noise, total = _noise(dice, size, cells), 1.0
    for octave in range(1, octaves):
        weight = 0.5**octave
        total += weight
        finer = _noise(dice, size, (cells[0] << octave, cells[1] << octave))
        noise = Image.blend(noise, finer, weight / total)
    return contrast(noise, low, high)


def _noise(dice: random.Random, size: Size, cells: Size) -> Image.Image:
    across, down = (max(2, min(cell, side)) for cell, side in zip(cells, size, strict=True))
    grains = Image.frombytes("L", (across, down), dice.randbytes(across * down))
    return grains.resize(size, Image.Resampling.BICUBIC)


def contrast(mask: Image.Image, low: int, high: int) -> Image.Image:
    """Stretch `low` … `high` to the whole range."""
    return mask.point([max(0, min(255, (value - low) * 255 // (high - low))) for value in range(256)])


def scaled(mask: Image.Image, factor: float) -> Image.Image:
    return mask.point([int(max(0.0, min(255.0, value * factor))) for value in range(256)])


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
