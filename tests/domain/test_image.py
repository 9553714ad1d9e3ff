"""The image aggregate: from the request to exactly one outcome; the meaning of a seed."""

from datetime import timedelta
from uuid import UUID

import pytest

from huajuan.domain.image import NOISE_SEED_MAX, Image, ImageParameters, noise_seed
from huajuan.domain.refusals import ImageAlreadyFinished, ImageNotFound
from tests.story import NOON, Story

PICTURE, ANN = UUID(int=1), UUID(int=2)
SUN = ImageParameters("sun", 220, 200, 30, "DDIM", "7")
DEADLINE = NOON + timedelta(minutes=10)


def requested() -> Story[Image]:
    return Story(lambda: Image.request(PICTURE, ANN, SUN, 20, DEADLINE))


def drawn(image: Image) -> None:
    image.draw("p.png", "ab", "ink", "0.33", 1234)


def failed(image: Image) -> None:
    image.fail("lost")


def test_a_request_keeps_every_parameter_and_its_deadline() -> None:
    image = requested().aggregate
    assert (image.account_id, image.prompt, image.width, image.height) == (ANN, "sun", 220, 200)
    assert (image.steps, image.sampling_method, image.seed, image.noise_seed) == (30, "DDIM", "7", 7)
    assert (image.points, image.deadline, image.is_open) == (20, DEADLINE, True)


def test_a_drawn_image_has_a_picture() -> None:
    story = requested().when(drawn)
    fields = {"picture": "p.png", "digest": "ab", "checkpoint": "ink", "painter": "0.33", "size": 1234}
    story.then(("image.drawn", fields))
    assert (story.aggregate.picture, story.aggregate.is_open, story.aggregate.size) == ("p.png", False, 1234)


def test_a_failed_image_has_a_reason() -> None:
    story = requested().when(failed)
    story.then(("image.drawing_failed", {"reason": "lost"}))
    assert (story.aggregate.failure, story.aggregate.is_open) == ("lost", False)


def cancelled(image: Image) -> None:
    image.cancel("cancelled")


def test_a_cancelled_image_has_a_reason() -> None:
    story = requested().given(Image.start).when(cancelled)
    story.then(("image.cancelled", {"reason": "cancelled"}))
    assert (story.aggregate.failure, story.aggregate.is_cancelled) == ("cancelled", True)


def test_attempts_are_counted() -> None:
    requested().given(Image.start).when(Image.start).then(("image.started", {"attempt": 2}))


@pytest.mark.parametrize("first", [drawn, failed, cancelled])
@pytest.mark.parametrize("second", [drawn, failed, cancelled, Image.start])
def test_the_outcome_is_recorded_once(first, second) -> None:  # type: ignore[no-untyped-def]
    requested().given(first).refuses(ImageAlreadyFinished, second)


UNTIL = NOON + timedelta(days=7)
LATER = UNTIL + timedelta(microseconds=1)


def deleted(image: Image) -> None:
    image.delete(ANN, UNTIL)


def test_the_owner_deletes_and_restores_an_image() -> None:
    story = requested().given(drawn).when(deleted)
    story.then(("image.deleted", {"until": UNTIL}))
    assert not story.aggregate.is_visible
    story.when(lambda i: i.restore(ANN, UNTIL)).then(("image.restored", {}))
    assert story.aggregate.is_visible


def test_another_account_cannot_delete_or_restore_an_image() -> None:
    requested().given(drawn).refuses(ImageNotFound, lambda i: i.delete(UUID(int=9), UNTIL))
    requested().given(drawn, deleted).refuses(ImageNotFound, lambda i: i.restore(UUID(int=9), NOON))


def test_an_invisible_image_cannot_be_deleted() -> None:
    for story in (requested(), requested().given(failed), requested().given(drawn, deleted)):
        story.refuses(ImageNotFound, deleted)


def test_an_image_is_restored_only_within_the_window() -> None:
    requested().given(drawn).refuses(ImageNotFound, lambda i: i.restore(ANN, NOON))
    requested().given(drawn, deleted).refuses(ImageNotFound, lambda i: i.restore(ANN, LATER))


def test_an_image_is_swept_once_after_the_window() -> None:
    requested().given(drawn, deleted).when(lambda i: i.sweep(UNTIL)).then()
    requested().given(drawn).when(lambda i: i.sweep(LATER)).then()
    story = requested().given(drawn, deleted).when(lambda i: i.sweep(LATER))
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
def test_an_erased_image_cannot_be_restored(earlier) -> None:  # type: ignore[no-untyped-def]
    story = requested().given(drawn, *earlier).when(Image.erase)
    story.then(("image.erased", {}))
    assert (story.aggregate.prompt, story.aggregate.seed, story.aggregate.is_visible) == (None, None, False)
    story.refuses(ImageNotFound, lambda image: image.restore(ANN, NOON))
    story.when(Image.erase).then()
    story.when(lambda image: image.sweep(NOON)).then(("image.swept", {}))


def test_an_open_image_is_not_erased() -> None:
    requested().when(Image.erase).then()
