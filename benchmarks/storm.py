"""The time of reads during many simultaneous log-ins, against the same reads without log-ins."""

import json
from collections.abc import Iterator

from benchmarks.ground import Ground
from benchmarks.load import Order, Target, loading
from benchmarks.people import Plenty, settle
from benchmarks.table import Goal, Row
from tests.server.person import PASSWORD

READERS = 16
LOGGING_IN = 16
BCRYPT_COST = 12
GOAL = Goal(most=3)
LOGIN = [Target("POST", "/login", json.dumps({"username": "person0", "password": PASSWORD}))]


def rows(ground: Ground) -> Iterator[Row]:
    """One row, with the real cost of a password hash."""
    with ground.serving(bcrypt_cost=BCRYPT_COST) as (service, dsn):
        town = settle(service.address, dsn, Plenty(people=2))
        reads = Order(
            address=service.address,
            targets=[Target("GET", "/auth/user/images")],
            tokens=town.tokens,
            connections=READERS,
            # A 99th percentile needs more measurements than a rate.
            seconds=2 * ground.options.seconds,
        )
        stormy, quiet = ground.rounds(
            "log-in storm", (lambda: _during_storm(ground, reads), lambda: ground.load(reads).p99)
        )
    what = f"GET /auth/user/images, p99 while {LOGGING_IN} log in without end"
    yield Row.of(what, "the same, quiet", stormy, quiet, "s", GOAL)


def _during_storm(ground: Ground, reads: Order) -> float:
    storm = Order(
        address=reads.address,
        targets=LOGIN,
        connections=LOGGING_IN,
        seconds=reads.seconds + reads.warm_seconds,
        warm_seconds=0,
    )
    with loading(storm):
        return ground.load(reads).p99
