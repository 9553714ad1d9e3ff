"""The studio: painters come and go, beside those in the settings."""

from uuid import UUID

import pytest

from huajuan.domain.inference_servers import Studio
from huajuan.domain.refusals import AlreadyPainter, NotPainter, PainterUnfit, ReasonMissing
from huajuan.domain.server_address import one_of_each, painter_url
from tests.story import Story

HERE = ["http://gpu-1:8188/"]


def studio() -> Story[Studio]:
    return Story(lambda: Studio.open(UUID(int=1)))


def added(studio: Studio) -> None:
    studio.add("http://gpu-2:8188/", HERE, "more")


def removed(studio: Studio) -> None:
    studio.remove("http://gpu-1:8188", HERE, "broken")


def test_one_that_is_added_draws_beside_the_others() -> None:
    story = studio().when(added)
    story.then(("studio.painter_added", {"url": "http://gpu-2:8188", "reason": "more"}))
    assert story.aggregate.painters(HERE) == ["http://gpu-1:8188", "http://gpu-2:8188"]
    story.refuses(AlreadyPainter, added)


def test_one_of_the_settings_that_is_removed_stays_away_until_it_is_added() -> None:
    story = studio().when(removed)
    story.then(("studio.painter_removed", {"url": "http://gpu-1:8188", "reason": "broken"}))
    assert story.aggregate.painters(HERE) == []
    story.refuses(NotPainter, removed)
    story.when(lambda studio: studio.add("http://gpu-1:8188", HERE, "mended"))
    assert story.aggregate.painters(HERE) == ["http://gpu-1:8188"]


def test_an_act_needs_a_reason() -> None:
    studio().refuses(ReasonMissing, lambda studio: studio.add("http://gpu-2:8188", HERE, " "))


@pytest.mark.parametrize(
    "text", ["", "gpu-2:8188", "ftp://gpu-2", "http://", "http://a b", "http://u:p@gpu", "http://gpu:99999",
             "http://gpu/?x=1", "http://gpu/#x", "http://图", "http://" + "a" * 500, "http://[::1", "http://gpu\n"[:-1] + "\x00"],
)  # fmt: skip
def test_an_address_that_leads_nowhere_is_refused(text: str) -> None:
    with pytest.raises(PainterUnfit):
        painter_url(text)


@pytest.mark.parametrize(
    "text", ["http://gpu-2:8188", "https://gpu.example/comfy", "http://[::1]:8188", " http://gpu/ "]
)
def test_an_address_is_kept_without_its_last_slash(text: str) -> None:
    assert painter_url(text) == text.strip().rstrip("/")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("HTTP://GPU-2.Example:80/", "http://gpu-2.example"),
        ("https://gpu:443//", "https://gpu"),
        ("https://gpu:80", "https://gpu:80"),
        ("http://gpu:08188/Comfy/", "http://gpu:8188/Comfy"),
        ("http://[0:0::1]:8188", "http://[::1]:8188"),
        ("http://[::FFFF:10.0.0.7]", "http://10.0.0.7"),
        ("http://gpu:", "http://gpu"),
    ],
)
def test_an_address_has_one_spelling(text: str, url: str) -> None:
    assert painter_url(text) == url == painter_url(url)


ALIASES = ("http://localhost:8188", "http://127.0.0.1:8188/", "http://[::1]:8188", "HTTP://LOCALHOST.:8188",
           "http://0.0.0.0:8188", "http://[::ffff:127.0.0.1]:8188")  # fmt: skip
OTHERS = ("http://localhost:8189", "https://localhost:8188", "http://127.0.0.2:8188", "http://localhost:8188/a",
          "http://localhost.example:8188")  # fmt: skip


@pytest.mark.parametrize("first", ALIASES)
@pytest.mark.parametrize("second", ALIASES)
def test_this_machine_is_one_painter_whatever_it_is_called(first: str, second: str) -> None:
    """However it came in: added, or in the settings; and under any of its names it is removed."""
    assert one_of_each([first, second]) == [painter_url(first)]
    studio().refuses(AlreadyPainter, lambda studio: studio.add(second, [first], "more"))
    story = studio().when(lambda studio: studio.add(first, [], "more"))
    story.refuses(AlreadyPainter, lambda studio: studio.add(second, [], "more"))
    story.when(lambda studio: studio.remove(second, [], "gone"))
    assert story.aggregate.painters([first, second]) == []
    story.when(lambda studio: studio.add(second, [first], "back"))
    assert story.aggregate.painters([first]) == [painter_url(first)]


@pytest.mark.parametrize("other", OTHERS)
def test_what_may_be_another_painter_is_another(other: str) -> None:
    story = studio().when(lambda studio: studio.add(other, ALIASES, "more"))
    assert story.aggregate.painters(ALIASES) == [ALIASES[0], painter_url(other)]


def test_a_log_that_has_one_place_under_two_names_has_one_painter() -> None:
    """As it was written when the names were taken for two."""
    urls = ("http://GPU:8188", "http://gpu:8188", "http://127.0.0.1:1", "http://localhost:1", "fake")
    story = studio()
    for url in urls:
        story.when(lambda studio, url=url: studio._add(url, "more"))  # type: ignore[misc]
    assert story.aggregate.painters(["fake/"]) == ["fake", "http://gpu:8188", "http://127.0.0.1:1"]
