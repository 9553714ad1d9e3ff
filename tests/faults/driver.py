"""Kills one process as the matrix says, restarts everything, and checks that nothing is wrong."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import psycopg

from tests.faults.ledger import Ledger
from tests.faults.matrix import Kill
from tests.faults.processes import Processes
from tests.faults.users import SLOW_STEPS, Users

PASS_SECONDS_MAX = 15.0
# A picture may be drawn before the client that cancels it has started.
TRIES_MAX = 2
QUIET_SECONDS_MAX = 25.0
POLL_SECONDS = 0.02
_OPEN_JOBS = "SELECT count(*) FROM operations.job_leases"


class Driver:
    """Use as a context manager."""

    def __init__(self, broken: str = "", quiet_seconds_max: float = QUIET_SECONDS_MAX) -> None:
        self.processes = Processes(broken)
        self._quiet_seconds_max = quiet_seconds_max
        self._seen: set[str] = set()

    def __enter__(self) -> Self:
        self.processes.__enter__()
        self.users = Users(self.processes.address)
        self.ledger = Ledger(self.processes.pictures)
        self.read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.processes.__exit__(kind, error, trace)

    def play(self, kill: Kill) -> list[str]:
        """Return the faults found afterwards; empty if there are none."""
        processes = self.processes
        processes.set_point(kill.process, kill.point, kill.action)
        if not any(self._is_passed(kill) for _ in range(TRIES_MAX)):
            return [f"{kill.point}: no process ever passed it", *self.settled()]
        if kill.action == "kill":
            processes.kills[kill.victim] += 1
        else:
            processes.kill(kill.victim)
        if kill.then:
            self.cancel()
        processes.clear_points()
        return self.settled()

    def _is_passed(self, kill: Kill) -> bool:
        self.play_scenario(kill.scenario)
        return within(
            PASS_SECONDS_MAX, lambda: self.processes.has_passed(kill.process, kill.point, kill.action)
        )

    def play_scenario(self, scenario: str) -> None:
        """Start a job that passes the fail points of this scenario."""
        {
            "draw": self.users.request,
            "lost": lambda: self._request_with_fault("restart"),
            "fail": lambda: self._request_with_fault("execution_error"),
            "no_server": self._request_without_server,
            "cancel": self._request_and_cancel,
            "wait": self._request_and_wait,
        }[scenario]()

    def _request_with_fault(self, mode: str) -> None:
        self.processes.misbehave(mode)
        self.users.request()

    def _request_without_server(self) -> None:
        self.processes.kill("comfyui")
        self.users.request()

    def _request_and_cancel(self) -> None:
        self.users.request(SLOW_STEPS)
        if within(PASS_SECONDS_MAX, self._is_drawing):
            self._start_cancelling()

    def cancel(self) -> None:
        """Cancel every open image as its owner."""
        self.read()
        for _ in self.ledger.open_images():
            self._start_cancelling()
            within(PASS_SECONDS_MAX, lambda: self.processes.is_dead("client"))
            self.read()

    def _start_cancelling(self) -> None:
        if images := self.ledger.open_images():
            image, account = images[0]
            self.processes.start_client("cancel", account, image)

    def _is_drawing(self) -> bool:
        self.read()
        return any(job.is_started and not job.outcomes for job in self.ledger.jobs.values())

    def _request_and_wait(self) -> None:
        self.processes.start_client("wait", next(iter(self.ledger.accounts)))

    def settled(self) -> list[str]:
        """Restart everything, wait until every job is finished, and return the faults."""
        self.processes.clear_points()
        self.processes.restart_dead()
        self.processes.misbehave()
        faults = []
        if not within(self._quiet_seconds_max, self._is_quiet):
            faults.append("a job is open, or a request not answered, long after the deadline")
        self.users.clear()
        self.processes.record_resent()
        faults += [
            f"image {image}: sent again to a server that had it"
            for image in self.processes.resent - self._seen
        ]
        self._seen |= self.processes.resent
        self.read()
        return faults + self.ledger.check()

    def audited(self) -> list[str]:
        """Return what the own audit commands find wrong with the whole log and all points."""
        results = [self.processes.run_cli(*words) for words in (["verify"], ["replay", "--all"])]
        return [one.stdout + one.stderr for one in results if one.returncode]

    def _is_quiet(self) -> bool:
        if self.users.is_waiting() or not self.processes.is_dead("client"):
            return False
        with psycopg.connect(self.processes.dsn) as connection:
            return connection.execute(_OPEN_JOBS).fetchone() == (0,)

    def read(self) -> None:
        with psycopg.connect(self.processes.dsn) as connection:
            self.ledger.read(connection)


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether the condition became true in time."""
    give_up_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(POLL_SECONDS)
    return True
