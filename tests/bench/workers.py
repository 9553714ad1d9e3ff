"""Reads a second of two workers, against one."""

from collections.abc import Iterator
from contextlib import AbstractContextManager

from tests.bench.ground import Ground
from tests.bench.load import Order, Target
from tests.bench.people import settle
from tests.bench.table import Goal, Row
from tests.serving.service import Service

CONNECTIONS = 64
GOAL = Goal(least=1.7)
# Either takes the other's tokens.
SECRET = "a secret of at least thirty-two bytes"


def rows(ground: Ground) -> Iterator[Row]:
    """Both serve the same database; the one that is not asked has next to nothing to do."""
    with _served(ground, 1) as (one, dsn), _served(ground, 2, dsn) as (two, _):
        tokens = settle(one.address, dsn).tokens

        def rate(address: str) -> float:
            return ground.load(
                Order(
                    address=address,
                    targets=[Target("GET", "/auth/user/images")],
                    tokens=tokens,
                    connections=CONNECTIONS,
                    seconds=ground.options.seconds,
                )
            ).per_second

        ours, theirs = ground.rounds("workers", (lambda: rate(two.address), lambda: rate(one.address)))
    what = f"GET /auth/user/images, {CONNECTIONS} connections, two workers"
    yield Row.of(what, "one worker", ours, theirs, "/s", GOAL)


def _served(ground: Ground, workers: int, dsn: str = "") -> AbstractContextManager[tuple[Service, str]]:
    return ground.serving(dsn, workers=workers, jwt_secret=SECRET)
