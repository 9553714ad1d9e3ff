"""The kill matrix can fail: one kill detects each build that is broken on purpose."""

import pytest

from tests.faults.broken import BROKEN
from tests.faults.driver import Driver
from tests.faults.matrix import MATRIX

DETECTED_BY = {
    "settle_before_store": ("dispatcher at tell.appended of draw", "paid, but the file is missing"),
    "return_without_record": ("dispatcher at fail.appended of fail", "it has 0 outcomes"),
    "resend_without_look_up": (
        "dispatcher at draw.progressed of draw",
        "sent again to a server that had it",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_build_is_detected(broken: str) -> None:
    name, message = DETECTED_BY[broken]
    (kill,) = [kill for kill in MATRIX if kill.name == name]
    with Driver(broken, quiet_seconds_max=6) as driver:
        assert any(message in fault for fault in driver.play(kill))
