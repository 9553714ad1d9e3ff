"""Requests per second of hot reads, against bare handlers that return the same bytes."""

import itertools
from collections.abc import Iterator
from functools import partial

import httpx

from benchmarks import bare
from benchmarks.ground import CONNECTIONS, Ground
from benchmarks.load import Order, Target
from benchmarks.people import Town, settle
from benchmarks.table import Goal, Row
from tests.loopback import NO_TLS

ROUTES = {
    "info": "/auth/user/info",
    "images": "/auth/user/images",
    "favorites": "/auth/user/favoritedimages",
}
AGAINST_BYTES = ("bare handler, same bytes", Goal(least=0.5))
AGAINST_SELECT = ("bare handler, SELECT by key", Goal(least=0.8))


def rows(ground: Ground) -> Iterator[Row]:
    """Two rows for each route and number of connections."""
    with ground.serving() as (service, dsn):
        town = settle(service.address, dsn)
        replies = {name: _reply(service.address + path, town) for name, path in ROUTES.items()}
        with bare.running(ground.database(), replies) as bare_address:
            for name, connections in itertools.product(ROUTES, CONNECTIONS):
                yield from _compared(ground, name, connections, service.address, bare_address, town)


def _compared(
    ground: Ground, name: str, connections: int, address: str, bare_address: str, town: Town
) -> Iterator[Row]:
    rate, what = partial(_rate, ground, connections), f"GET {ROUTES[name]}, {connections} connections"
    ours, *others = ground.rounds(
        what,
        (
            lambda: rate(address, ROUTES[name], town.tokens),
            lambda: rate(bare_address, f"/bytes/{name}", ("",)),
            lambda: rate(bare_address, f"/select/{name}", ("",)),
        ),
    )
    for (against, goal), theirs in zip((AGAINST_BYTES, AGAINST_SELECT), others, strict=True):
        yield Row.of(what, against, ours, theirs, "/s", goal)


def _rate(ground: Ground, connections: int, address: str, path: str, tokens: tuple[str, ...]) -> float:
    order = Order(
        address=address,
        targets=[Target("GET", path)],
        tokens=tokens,
        connections=connections,
        seconds=ground.options.seconds,
    )
    return ground.load(order).per_second


def _reply(url: str, town: Town) -> bytes:
    reply = httpx.get(url, headers={"Authorization": town.tokens[0]}, trust_env=False, verify=NO_TLS)
    return reply.raise_for_status().content
