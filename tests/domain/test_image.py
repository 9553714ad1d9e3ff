"""An image from its request to its one end, and what a seed means."""

from datetime import timedelta
from uuid import UUID

import pytest

from huajuan.domain.image import NOISE_SEED_MAX, Image, Order, noise_seed
from huajuan.domain.refusals import AlreadyTold
from tests.story import NOON, Story

PICTURE, ANN = UUID(int=1), UUID(int=2)
SUN = Order("sun", 220, 200, 30, "DDIM", "7")
DEADLINE = NOON + timedelta(minutes=10)


def asked() -> Story[Image]:
    return Story(lambda: Image.request(PICTURE, ANN, SUN, 20, DEADLINE))


def drawn(image: Image) -> None:
    image.draw("p.png", "ab")


def failed(image: Image) -> None:
    image.fail("lost")


def test_a_request_keeps_every_parameter_and_its_deadline() -> None:
    image = asked().aggregate
    assert (image.account_id, image.prompt, image.width, image.height) == (ANN, "sun", 220, 200)
    assert (image.steps, image.sampling_method, image.seed, image.noise_seed) == (30, "DDIM", "7", 7)
    assert (image.points, image.deadline, image.is_open) == (20, DEADLINE, True)


def test_a_drawn_image_has_a_picture() -> None:
    story = asked().when(drawn)
    story.then(("image.drawn", {"picture": "p.png", "digest": "ab"}))
    assert (story.aggregate.picture, story.aggregate.is_open) == ("p.png", False)


def test_a_failed_image_has_a_reason() -> None:
    story = asked().when(failed)
    story.then(("image.drawing_failed", {"reason": "lost"}))
    assert (story.aggregate.failure, story.aggregate.is_open) == ("lost", False)


@pytest.mark.parametrize("first", [drawn, failed])
@pytest.mark.parametrize("second", [drawn, failed])
def test_the_end_is_told_once(first, second) -> None:  # type: ignore[no-untyped-def]
    asked().given(first).refuses(AlreadyTold, second)


@pytest.mark.parametrize(
    ("seed", "number"),
    [("0", 0), ("7", 7), ("007", 7), (str(NOISE_SEED_MAX), NOISE_SEED_MAX), ("0" * 5000 + "1", 1)],
)
def test_a_decimal_seed_is_that_number(seed: str, number: int) -> None:
    assert noise_seed(seed) == number


@pytest.mark.parametrize("seed", ["-1", str(NOISE_SEED_MAX + 1), "七", "٣", "1.0", " 1", "9" * 5000])
def test_any_other_seed_is_hashed_always_the_same_way(seed: str) -> None:
    assert 0 <= noise_seed(seed) <= NOISE_SEED_MAX
    assert noise_seed(seed) == noise_seed(seed) != noise_seed(seed + "x")


def test_the_hash_of_a_seed_never_changes_between_versions() -> None:
    assert noise_seed("sunrise") == 0xE9F2A0186210E30A
