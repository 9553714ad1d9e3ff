"""The landscapes: deterministic, of any size, and marked."""

from itertools import combinations

import pytest
from PIL import Image, ImageChops, ImageStat

from huajuan.demo_comfyui.landscape import paint
from huajuan.demo_comfyui.scene import Subject, scene_of

MOON = Subject("moon over a lake", 7, 20, "ddim")


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of pixels, 0 to 255."""
    means: list[float] = ImageStat.Stat(ImageChops.difference(one, other).convert("L")).mean
    return means[0]


@pytest.mark.parametrize(
    "size", [(1, 1), (16, 16), (48, 300), (128, 128), (220, 200), (1023, 129), (131, 1024)]
)
def test_any_size_is_met_exactly(size: tuple[int, int]) -> None:
    picture = paint(MOON, *size)
    assert (picture.size, picture.mode) == (size, "RGB")


def test_the_same_subject_gives_the_same_pixels() -> None:
    again = Subject("moon over a lake", 7, 20, "ddim")
    assert paint(MOON, 160, 120).tobytes() == paint(again, 160, 120).tobytes()


def test_every_part_of_the_subject_changes_the_picture() -> None:
    subjects = [
        MOON,
        Subject("snow over a lake", 7, 20, "ddim"),
        Subject("moon over a lake", 8, 20, "ddim"),
        Subject("moon over a lake", 7, 21, "ddim"),
        Subject("moon over a lake", 7, 20, "lms"),
        Subject("moon over a lake", 7, 20, "ipndm"),
    ]
    pictures = [paint(subject, 128, 128) for subject in subjects]
    assert all(difference(one, other) > 4 for one, other in combinations(pictures, 2))


def test_ink_alone_has_hardly_any_colour() -> None:
    saturation = {
        sampler: ImageStat.Stat(paint(Subject("山水", 9, 20, sampler), 160, 160).convert("HSV")).mean[1]
        for sampler in ("ipndm", "lms")
    }
    assert saturation["ipndm"] * 2 < saturation["lms"]


def test_night_is_darker_than_day() -> None:
    night, day = (paint(Subject(words, 3, 20, "ddim"), 128, 128).convert("L") for words in ("夜 月", "日"))
    assert ImageStat.Stat(night).mean[0] < ImageStat.Stat(day).mean[0] - 40


WORDS = ["夜", "moon", "sun, sea, birds", "雪", "rain, bamboo", "秋 塔", "春 舟", "", "\x00 {x}"]


@pytest.mark.parametrize("words", WORDS)
def test_any_words_make_a_picture_with_the_red_seal(words: str) -> None:
    picture = paint(Subject(words, 1, 20, "ddim"), 256, 256)
    red, green, blue = ImageStat.Stat(picture.crop((231, 231, 250, 250))).mean
    assert min(red - green, red - blue) > 50
    assert ImageStat.Stat(picture.convert("L")).stddev[0] > 15


@pytest.mark.parametrize(
    ("words", "motif"),
    [
        ("a Sunset", "dusk"),
        ("海上生明月", "moon"),
        ("江雪", "snow"),
        ("old temple", "pagoda"),
        ("枫桥夜泊", "autumn"),
    ],
)
def test_motifs_are_read_from_the_words(words: str, motif: str) -> None:
    assert motif in Subject(words, 1, 1, "ddim").motifs()


def test_words_within_words_are_no_motifs() -> None:
    assert Subject("seasoned sunday unstarry", 1, 1, "ddim").motifs() == set()


def test_the_sea_has_water_and_the_night_a_moon() -> None:
    scene = scene_of(Subject("night at sea", 5, 1, "ddim"), (64, 64))
    assert scene.has("water")
    assert scene.has("moon")
    assert not scene.has("sun")


def test_pictures_of_a_batch_differ() -> None:
    assert MOON.variant(0) == MOON
    assert MOON.variant(1).seed == 8
    assert Subject("", 2**64 - 1, 1, "ddim").variant(1).seed == 0
