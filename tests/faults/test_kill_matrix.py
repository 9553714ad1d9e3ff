"""Each fail point with each process that may die there: every picture is drawn and paid, or neither."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import huajuan
from tests.faults.driver import PASS_SECONDS_MAX, Driver, within
from tests.faults.matrix import MATRIX, Kill
from tests.faults.random_kills import RandomKills

STEP = re.compile(r"\bat\(\"([a-z_.]+)\"\)")
RANDOM_KILLS = 6
NOTIFICATION_SECONDS = 2


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    with Driver() as started:
        yield started


def test_every_fail_point_is_in_the_matrix() -> None:
    sources = Path(huajuan.__file__).parent.rglob("*.py")
    named = {point for source in sources for point in STEP.findall(source.read_text("utf-8"))}
    assert named == {kill.point for kill in MATRIX}


@pytest.mark.slow
@pytest.mark.parametrize("kill", MATRIX, ids=lambda kill: kill.name)
def test_a_kill_loses_neither_points_nor_pictures(driver: Driver, kill: Kill) -> None:
    assert driver.play(kill) == []


@pytest.mark.slow
def test_a_picture_stored_after_its_cancellation_is_removed(driver: Driver) -> None:
    """Cancelled between drawing and storing: the dispatcher is notified, or dies before."""
    processes = driver.processes
    processes.set_point("dispatcher", "draw.drawn", "pause")
    processes.set_point("dispatcher", "draw.stored", "kill")
    driver.play_scenario("draw")
    assert within(PASS_SECONDS_MAX, lambda: processes.has_passed("dispatcher", "draw.drawn", "pause"))
    driver.cancel()
    processes.resume("dispatcher", "draw.drawn")
    within(NOTIFICATION_SECONDS, lambda: processes.is_dead("dispatcher"))
    assert driver.settled() == []


@pytest.mark.slow
def test_several_processes_die_at_any_moment(driver: Driver) -> None:
    enough = driver.processes.kills.total() + RANDOM_KILLS
    random_kills = RandomKills(driver, seed=6)
    while driver.processes.kills.total() < enough:
        assert random_kills.kill_in_a_row() == []


@pytest.mark.slow
def test_the_audit_commands_find_nothing_after_all_kills(driver: Driver) -> None:
    """Last in this file."""
    assert driver.audited() == []
