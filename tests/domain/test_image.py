"""An image from its request to its one end, and what a seed means."""

from datetime import timedelta
from uuid import UUID

import pytest

from huajuan.domain.image import Image
from huajuan.domain.image_parameters import NOISE_SEED_MAX, Order, noise_seed
from huajuan.domain.refusals import AlreadyTold, ImageNotFound
from tests.story import NOON, Story

PICTURE, ANN = UUID(int=1), UUID(int=2)
SUN = Order("sun", 220, 200, 30, "DDIM", "7")
DEADLINE = NOON + timedelta(minutes=10)


def asked() -> Story[Image]:
    return Story(lambda: Image.request(PICTURE, ANN, SUN, 20, DEADLINE))


def drawn(image: Image) -> None:
    image.draw("p.png", "ab", "ink", "0.33", 1234)


def failed(image: Image) -> None:
    image.fail("lost")


def test_a_request_keeps_every_parameter_and_its_deadline() -> None:
    image = asked().aggregate
    assert (image.account_id, image.prompt, image.width, image.height) == (ANN, "sun", 220, 200)
    assert (image.steps, image.sampling_method, image.seed, image.noise_seed) == (30, "DDIM", "7", 7)
    assert (image.points, image.deadline, image.is_open) == (20, DEADLINE, True)


def test_a_drawn_image_has_a_picture() -> None:
    story = asked().when(drawn)
    told = {"picture": "p.png", "digest": "ab", "checkpoint": "ink", "painter": "0.33", "size": 1234}
    story.then(("image.drawn", told))
    assert (story.aggregate.picture, story.aggregate.is_open, story.aggregate.size) == ("p.png", False, 1234)


def test_a_failed_image_has_a_reason() -> None:
    story = asked().when(failed)
    story.then(("image.drawing_failed", {"reason": "lost"}))
    assert (story.aggregate.failure, story.aggregate.is_open) == ("lost", False)


def cancelled(image: Image) -> None:
    image.cancel("cancelled")


def test_a_cancelled_image_will_not_be_drawn() -> None:
    story = asked().given(Image.start).when(cancelled)
    story.then(("image.cancelled", {"reason": "cancelled"}))
    assert (story.aggregate.failure, story.aggregate.is_cancelled) == ("cancelled", True)


def test_attempts_are_counted() -> None:
    asked().given(Image.start).when(Image.start).then(("image.started", {"attempt": 2}))


@pytest.mark.parametrize("first", [drawn, failed, cancelled])
@pytest.mark.parametrize("second", [drawn, failed, cancelled, Image.start])
def test_the_end_is_told_once(first, second) -> None:  # type: ignore[no-untyped-def]
    asked().given(first).refuses(AlreadyTold, second)


UNTIL = NOON + timedelta(days=7)
LATER = UNTIL + timedelta(microseconds=1)


def deleted(image: Image) -> None:
    image.delete(ANN, UNTIL)


def test_its_owner_deletes_it_for_a_while() -> None:
    story = asked().given(drawn).when(deleted)
    story.then(("image.deleted", {"until": UNTIL}))
    assert not story.aggregate.is_shown
    story.when(lambda i: i.restore(ANN, UNTIL)).then(("image.restored", {}))
    assert story.aggregate.is_shown


def test_to_anybody_else_it_is_not_there() -> None:
    asked().given(drawn).refuses(ImageNotFound, lambda i: i.delete(UUID(int=9), UNTIL))
    asked().given(drawn, deleted).refuses(ImageNotFound, lambda i: i.restore(UUID(int=9), NOON))


def test_what_is_not_shown_cannot_be_deleted() -> None:
    for story in (asked(), asked().given(failed), asked().given(drawn, deleted)):
        story.refuses(ImageNotFound, deleted)


def test_what_is_not_deleted_or_for_too_long_cannot_be_restored() -> None:
    asked().given(drawn).refuses(ImageNotFound, lambda i: i.restore(ANN, NOON))
    asked().given(drawn, deleted).refuses(ImageNotFound, lambda i: i.restore(ANN, LATER))


def test_it_is_swept_once_and_not_while_it_may_be_restored() -> None:
    asked().given(drawn, deleted).when(lambda i: i.sweep(UNTIL)).then()
    asked().given(drawn).when(lambda i: i.sweep(LATER)).then()
    story = asked().given(drawn, deleted).when(lambda i: i.sweep(LATER))
    story.then(("image.swept", {}))
    story.when(lambda i: i.sweep(LATER)).then()


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


@pytest.mark.parametrize("earlier", [[], [lambda i: i.delete(ANN, DEADLINE)]], ids=["shown", "deleted"])
def test_an_image_goes_with_its_owner_and_cannot_come_back(earlier) -> None:  # type: ignore[no-untyped-def]
    story = asked().given(drawn, *earlier).when(Image.erase)
    story.then(("image.erased", {}))
    assert (story.aggregate.prompt, story.aggregate.seed, story.aggregate.is_shown) == (None, None, False)
    story.refuses(ImageNotFound, lambda image: image.restore(ANN, NOON))
    story.when(Image.erase).then()
    story.when(lambda image: image.sweep(NOON)).then(("image.swept", {}))


def test_what_is_still_being_drawn_is_not_erased() -> None:
    asked().when(Image.erase).then()
