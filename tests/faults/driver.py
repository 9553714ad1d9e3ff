"""The driver: lets one die where the matrix says, starts everything again, and looks whether all is well."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import psycopg

from tests.faults.crowd import SLOW_STEPS, Crowd
from tests.faults.fleet import Fleet
from tests.faults.ledger import Ledger
from tests.faults.points import Kill

PASS_SECONDS_MAX = 15.0
# A picture may be drawn before the one who cancels it has started.
TRIES_MAX = 2
QUIET_SECONDS_MAX = 25.0
LOOK_SECONDS = 0.02
_OPEN_JOBS = "SELECT count(*) FROM operations.job_leases"


class Driver:
    """Use as a context manager."""

    def __init__(self, broken: str = "", quiet_seconds_max: float = QUIET_SECONDS_MAX) -> None:
        self.fleet = Fleet(broken)
        self._quiet_seconds_max = quiet_seconds_max
        self._seen: set[str] = set()

    def __enter__(self) -> Self:
        self.fleet.__enter__()
        self.crowd = Crowd(self.fleet.address)
        self.ledger = Ledger(self.fleet.pictures)
        self.read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.fleet.__exit__(kind, error, trace)

    def play(self, kill: Kill) -> list[str]:
        """What is wrong afterwards; empty when all is well."""
        fleet = self.fleet
        fleet.set_point(kill.passer, kill.point, kill.what)
        if not any(self._is_passed(kill) for _ in range(TRIES_MAX)):
            return [f"{kill.point}: nobody ever passed it", *self.settled()]
        if kill.what == "kill":
            fleet.kills[kill.victim] += 1
        else:
            fleet.kill(kill.victim)
        if kill.then:
            self.cancel()
        fleet.clear_points()
        return self.settled()

    def _is_passed(self, kill: Kill) -> bool:
        self.bring_about(kill.occasion)
        return within(PASS_SECONDS_MAX, lambda: self.fleet.has_passed(kill.passer, kill.point, kill.what))

    def bring_about(self, occasion: str) -> None:
        """So that a job comes to where the points of this occasion are."""
        {
            "draw": self.crowd.ask,
            "lost": lambda: self._ask_in_vain("restart"),
            "fail": lambda: self._ask_in_vain("execution_error"),
            "nobody": self._ask_of_nobody,
            "cancel": self._ask_and_cancel,
            "wait": self._wait_in_vain,
        }[occasion]()

    def _ask_in_vain(self, mode: str) -> None:
        self.fleet.misbehave(mode)
        self.crowd.ask()

    def _ask_of_nobody(self) -> None:
        self.fleet.kill("painter")
        self.crowd.ask()

    def _ask_and_cancel(self) -> None:
        self.crowd.ask(SLOW_STEPS)
        if within(PASS_SECONDS_MAX, self._is_drawing):
            self._start_cancelling()

    def cancel(self) -> None:
        """Everything that is open, by its owner."""
        self.read()
        for _ in self.ledger.open_images():
            self._start_cancelling()
            within(PASS_SECONDS_MAX, lambda: self.fleet.is_dead("errand"))
            self.read()

    def _start_cancelling(self) -> None:
        if images := self.ledger.open_images():
            image, account = images[0]
            self.fleet.start_errand("cancel", account, image)

    def _is_drawing(self) -> bool:
        self.read()
        return any(job.is_started and not job.ends for job in self.ledger.jobs.values())

    def _wait_in_vain(self) -> None:
        self.fleet.start_errand("wait", next(iter(self.ledger.accounts)))

    def settled(self) -> list[str]:
        """Everybody lives again and every job has come to its end; what is wrong then."""
        self.fleet.clear_points()
        self.fleet.revive()
        self.fleet.misbehave()
        told = []
        if not within(self._quiet_seconds_max, self._is_quiet):
            told.append("a job is open, or a request not answered, long after the deadline")
        self.crowd.forget()
        self.fleet.note_resent()
        told += [
            f"image {image}: sent again to a painter that knew it" for image in self.fleet.resent - self._seen
        ]
        self._seen |= self.fleet.resent
        self.read()
        return told + self.ledger.close()

    def audited(self) -> list[str]:
        """What our own auditors find wrong with the whole log and with everybody's points."""
        asked = [self.fleet.ask_operator(*words) for words in (["verify"], ["replay", "--all"])]
        return [answer.stdout + answer.stderr for answer in asked if answer.returncode]

    def _is_quiet(self) -> bool:
        if self.crowd.is_waiting() or not self.fleet.is_dead("errand"):
            return False
        with psycopg.connect(self.fleet.dsn) as connection:
            return connection.execute(_OPEN_JOBS).fetchone() == (0,)

    def read(self) -> None:
        with psycopg.connect(self.fleet.dsn) as connection:
            self.ledger.read(connection)


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether it came true in time."""
    give_up_at = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(LOOK_SECONDS)
    return True
