"""The studio: painters come and go, beside those in the settings."""

from uuid import UUID

import pytest

from huajuan.domain.refusals import AlreadyPainter, NotPainter, PainterUnfit, ReasonMissing
from huajuan.domain.studio import Studio, painter_url
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
