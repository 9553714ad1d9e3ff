"""The kill matrix can fail: a build that is broken where it matters is found out by one kill."""

import pytest

from tests.faults.broken import BROKEN
from tests.faults.driver import Driver
from tests.faults.points import MATRIX

FOUND_BY = {
    "settle_before_store": ("dispatcher at tell.appended of draw", "paid, and not there"),
    "return_without_record": ("dispatcher at fail.appended of fail", "it has 0 ends"),
    "resend_without_look_up": (
        "dispatcher at draw.progressed of draw",
        "sent again to a painter that knew it",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_build_is_found_out(broken: str) -> None:
    name, words = FOUND_BY[broken]
    (kill,) = [kill for kill in MATRIX if kill.name == name]
    with Driver(broken, quiet_seconds_max=6) as driver:
        assert any(words in fault for fault in driver.play(kill))
