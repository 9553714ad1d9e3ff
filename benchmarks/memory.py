"""Memory of the server after very many requests, against its memory after ten thousand."""

import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks.ground import Ground, say
from benchmarks.load import Order, Target
from benchmarks.measuring import Spread
from benchmarks.people import settle
from benchmarks.table import Goal, Row, with_unit
from tests.server.person import PASSWORD

FIRST_REQUESTS = 10_000
CONNECTIONS = 32
GOAL = Goal(most=1.2)
# A realistic mix: mostly reads, some writes, few log-ins.
LOOKS = [
    Target("GET", path) for path in ("/auth/user/info", "/auth/user/images", "/auth/user/favoritedimages")
]
MIX = [
    *LOOKS * 6,
    Target("GET", "/auth/score"),
    Target("POST", "/login", json.dumps({"username": "person0", "password": PASSWORD})),
]


def rows(ground: Ground) -> Iterator[Row]:
    """One row; a server is warmed up once, so there is one measurement."""
    with ground.serving() as (service, dsn):
        tokens = settle(service.address, dsn).tokens

        def ask(requests: int) -> float:
            say(f"memory: {requests:,} requests")
            order = Order(
                address=service.address,
                targets=MIX,
                tokens=tokens,
                connections=CONNECTIONS,
                requests=requests,
            )
            ground.load(order)
            return resident_megabytes(service.process.pid)

        early = ask(FIRST_REQUESTS)
        late = ask(ground.options.requests - FIRST_REQUESTS)
    what = f"memory after {ground.options.requests:,} requests"
    yield Row(
        what,
        f"after {FIRST_REQUESTS:,}",
        with_unit([late], "MB"),
        with_unit([early], "MB"),
        Spread.of([late / early]),
        GOAL,
    )


def resident_megabytes(pid: int) -> float:
    """The current resident memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
