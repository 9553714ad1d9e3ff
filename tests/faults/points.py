"""The matrix: every named point of ask, draw, tell and cancel, with whoever may die while a job is just there."""

from itertools import product
from typing import NamedTuple

EVERYBODY = ("api", "dispatcher", "postgres", "painter")


class Kill(NamedTuple):
    """`victim` dies while `passer` is at `point`, where it comes on this occasion; before anybody lives again,
    perhaps the owner cancels: `then`."""

    point: str
    victim: str
    passer: str
    occasion: str
    then: str = ""

    @property
    def what(self) -> str:
        """The passer dies of itself; of anybody else's death it hears only when it goes on."""
        return "kill" if self.victim == self.passer else "pause"

    @property
    def name(self) -> str:
        return f"{self.victim} at {self.point} of {self.occasion}" + (
            f", then {self.then}" if self.then else ""
        )


class Place(NamedTuple):
    points: tuple[str, ...]
    passer: str
    occasion: str
    victims: tuple[str, ...]


PLACES = (
    Place(("ask.opened", "ask.appended", "ask.ready"), "api", "draw", EVERYBODY),
    Place(("draw.claimed", "draw.started", "draw.progressed", "draw.drawn"), "dispatcher", "draw", EVERYBODY),
    Place(("draw.stored", "tell.appended"), "dispatcher", "draw", ("api", "dispatcher", "postgres")),
    Place(("tell.closed",), "dispatcher", "draw", ("dispatcher", "postgres")),
    Place(("draw.looked", "draw.put_back"), "dispatcher", "lost", ("dispatcher", "postgres", "painter")),
    Place(("fail.appended", "close.removed"), "dispatcher", "fail", ("api", "dispatcher", "postgres")),
    Place(("give_up.claimed",), "dispatcher", "nobody", ("dispatcher", "postgres")),
    Place(("cancel.appended", "cancel.closed"), "errand", "cancel", ("errand", "dispatcher", "postgres")),
    Place(("cancel.appended", "cancel.closed"), "errand", "wait", ("errand", "dispatcher", "postgres")),
    Place(("stop.asked",), "dispatcher", "cancel", ("dispatcher", "postgres", "painter")),
)
MATRIX = tuple(
    Kill(point, victim, place.passer, place.occasion)
    for place in PLACES
    for point, victim in product(place.points, place.victims)
) + tuple(
    Kill(point, "dispatcher", "dispatcher", "draw", then="cancel")
    for point in ("draw.claimed", "draw.progressed", "draw.stored", "tell.appended")
)
