"""Reads per second of two workers against one: from the cache, and from the tables."""

from collections.abc import Iterator
from contextlib import AbstractContextManager

from benchmarks.ground import Ground
from benchmarks.load import Order, Target
from benchmarks.people import settle
from benchmarks.table import Goal, Row
from tests.server.service import Service

CONNECTIONS = 64
GOAL = Goal(least=1.7)
# A picture's likes may come from the cache, a point history never does.
ROUTES = {"/auth/user/images": "from memory", "/auth/points/history": "from the tables"}


def rows(ground: Ground) -> Iterator[Row]:
    """Each has its own database, because servers that share one cache nothing. The idle one has no load."""
    with _served(ground, 1) as (one, one_dsn), _served(ground, 2) as (two, two_dsn):
        people = {s.address: settle(s.address, dsn).tokens for s, dsn in ((one, one_dsn), (two, two_dsn))}
        for route, source in ROUTES.items():

            def rate(address: str, route: str = route) -> float:
                return ground.load(
                    Order(
                        address=address,
                        targets=[Target("GET", route)],
                        tokens=people[address],
                        connections=CONNECTIONS,
                        seconds=ground.options.seconds,
                    )
                ).per_second

            ours, theirs = ground.rounds("workers", (lambda: rate(two.address), lambda: rate(one.address)))
            what = f"GET {route} {source}, {CONNECTIONS} connections, two workers"
            yield Row.of(what, "one worker", ours, theirs, "/s", GOAL)


def _served(ground: Ground, workers: int) -> AbstractContextManager[tuple[Service, str]]:
    return ground.serving(workers=workers)
