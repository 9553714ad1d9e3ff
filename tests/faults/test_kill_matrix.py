"""Each named point, and each who may die there: afterwards every picture is drawn and paid, or neither."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import huajuan
from tests.faults.driver import PASS_SECONDS_MAX, Driver, within
from tests.faults.points import MATRIX, Kill
from tests.faults.storm import Storm

STEP = re.compile(r"\bat\(\"([a-z_.]+)\"\)")
STORM_KILLS = 6
HEAR_SECONDS = 2


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    with Driver() as started:
        yield started


def test_every_point_of_ours_is_in_the_matrix() -> None:
    sources = Path(huajuan.__file__).parent.rglob("*.py")
    named = {point for source in sources for point in STEP.findall(source.read_text("utf-8"))}
    assert named == {kill.point for kill in MATRIX}


@pytest.mark.slow
@pytest.mark.parametrize("kill", MATRIX, ids=lambda kill: kill.name)
def test_whoever_dies_nobody_loses(driver: Driver, kill: Kill) -> None:
    assert driver.play(kill) == []


@pytest.mark.slow
def test_what_is_stored_when_nobody_wants_it_any_more_goes(driver: Driver) -> None:
    """Cancelled between drawing and storing; then its process hears of that, or dies before it does."""
    fleet = driver.fleet
    fleet.set_point("dispatcher", "draw.drawn", "pause")
    fleet.set_point("dispatcher", "draw.stored", "kill")
    driver.bring_about("draw")
    assert within(PASS_SECONDS_MAX, lambda: fleet.has_passed("dispatcher", "draw.drawn", "pause"))
    driver.cancel()
    fleet.go_on("dispatcher", "draw.drawn")
    within(HEAR_SECONDS, lambda: fleet.is_dead("dispatcher"))
    assert driver.settled() == []


@pytest.mark.slow
def test_several_die_at_any_moment(driver: Driver) -> None:
    enough = driver.fleet.kills.total() + STORM_KILLS
    storm = Storm(driver, seed=6)
    while driver.fleet.kills.total() < enough:
        assert storm.kill_in_a_row() == []


@pytest.mark.slow
def test_the_auditors_find_nothing_after_all_that(driver: Driver) -> None:
    """Last in this file."""
    assert driver.audited() == []
