"""Chooses light, colours and details of a picture from its motifs, at random where the prompt has none."""

import random

import msgspec

from huajuan.demo_comfyui.landscape.subject import Subject

Colour = tuple[int, int, int]


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

AUTUMN = {"near": (92, 62, 44), "far": (190, 164, 140)}
SPRING = {"near": (52, 88, 70), "far": (172, 190, 178)}
BLUE_GREEN = {"near": (20, 92, 96), "far": (116, 172, 168)}
GOLD_SKY = ((206, 190, 146), (234, 216, 168), (250, 236, 198))


class Mood(msgspec.Struct, frozen=True):
    """Motifs and colours of a picture. With `ink_only` only the sun and the seal are coloured."""

    palette: Palette
    motifs: frozenset[str]
    hour: str
    tree: str
    ink_only: bool

    def has(self, motif: str) -> bool:
        return motif in self.motifs


def mood(subject: Subject) -> Mood:
    """The sampling method chooses the school: washes of colour, ink alone, or mineral blue and green."""
    dice, named = subject.dice("mood"), subject.motifs()
    hour = _hour(named, dice)
    motifs = named | _added(named, hour, dice)
    palette = _seasoned(PALETTES[hour], motifs)
    if subject.sampler == "lms":
        palette = _mineral(palette, hour)
    return Mood(palette, frozenset(motifs), hour, _tree(motifs, dice), subject.sampler.startswith("ipndm"))


def _hour(named: set[str], dice: random.Random) -> str:
    for hour in ("night", "dusk", "dawn", "snow", "rain"):
        if hour in named:
            return hour
    if "moon" in named:
        return "night"
    return "day" if "sun" in named else dice.choice(["day", "day", "day", "dawn", "dusk"])


def _added(named: set[str], hour: str, dice: random.Random) -> set[str]:
    added = {"moon" if hour == "night" else "sun"} if hour != "rain" else set()
    for motif, chance in (("water", 0.75), ("boat", 0.45), ("birds", 0.55), ("pagoda", 0.35), ("mist", 0.5)):
        if dice.random() < chance:
            added.add(motif)
    if {"boat", "sea"} & (named | added):
        added.add("water")
    return added


def _seasoned(palette: Palette, motifs: set[str]) -> Palette:
    if "autumn" in motifs:
        return msgspec.structs.replace(palette, **AUTUMN)
    return msgspec.structs.replace(palette, **SPRING) if "spring" in motifs else palette


def _mineral(palette: Palette, hour: str) -> Palette:
    palette = msgspec.structs.replace(palette, **BLUE_GREEN)
    return msgspec.structs.replace(palette, sky=GOLD_SKY, mist=(248, 234, 198)) if hour == "day" else palette


def _tree(motifs: set[str], dice: random.Random) -> str:
    for tree in ("bamboo", "spring", "autumn", "pine", "snow"):
        if tree in motifs:
            return tree
    return dice.choice(["pine", "pine", "spring", "autumn", "bamboo"])
