"""The kill matrix: each fail point of a job, with the processes that may die while a job is there."""

from itertools import product
from typing import NamedTuple

PROCESSES = ("api", "dispatcher", "postgres", "comfyui")


class Kill(NamedTuple):
    """`victim` dies while `process` is at `point`, which it passes in this scenario.

    If `then` is "cancel", the owner cancels the image before the processes are restarted.
    """

    point: str
    victim: str
    process: str
    scenario: str
    then: str = ""

    @property
    def action(self) -> str:
        """A process at the point kills itself; it pauses there while another is killed."""
        return "kill" if self.victim == self.process else "pause"

    @property
    def name(self) -> str:
        return f"{self.victim} at {self.point} of {self.scenario}" + (
            f", then {self.then}" if self.then else ""
        )


class FailPoints(NamedTuple):
    """Fail points that `process` passes in `scenario`, and the processes to kill there."""

    points: tuple[str, ...]
    process: str
    scenario: str
    victims: tuple[str, ...]


FAIL_POINTS = (
    FailPoints(("ask.opened", "ask.appended", "ask.ready"), "api", "draw", PROCESSES),
    FailPoints(
        ("draw.claimed", "draw.started", "draw.progressed", "draw.drawn"), "dispatcher", "draw", PROCESSES
    ),
    FailPoints(("draw.stored", "tell.appended"), "dispatcher", "draw", ("api", "dispatcher", "postgres")),
    FailPoints(("tell.closed",), "dispatcher", "draw", ("dispatcher", "postgres")),
    FailPoints(("draw.looked", "draw.put_back"), "dispatcher", "lost", ("dispatcher", "postgres", "comfyui")),
    FailPoints(("fail.appended", "close.removed"), "dispatcher", "fail", ("api", "dispatcher", "postgres")),
    FailPoints(("give_up.claimed",), "dispatcher", "no_server", ("dispatcher", "postgres")),
    FailPoints(
        ("cancel.appended", "cancel.closed"), "client", "cancel", ("client", "dispatcher", "postgres")
    ),
    FailPoints(("cancel.appended", "cancel.closed"), "client", "wait", ("client", "dispatcher", "postgres")),
    FailPoints(("stop.asked",), "dispatcher", "cancel", ("dispatcher", "postgres", "comfyui")),
)
MATRIX = tuple(
    Kill(point, victim, group.process, group.scenario)
    for group in FAIL_POINTS
    for point, victim in product(group.points, group.victims)
) + tuple(
    Kill(point, "dispatcher", "dispatcher", "draw", then="cancel")
    for point in ("draw.claimed", "draw.progressed", "draw.stored", "tell.appended")
)
