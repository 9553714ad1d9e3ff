"""Requests per second of two hot writes against a bare POST that commits one row, and the time of a reply."""

import itertools
import json
import time
from collections.abc import Iterator
from functools import partial
from uuid import uuid4

import psycopg

from benchmarks import bare
from benchmarks.append_variants import INSERT, a_check_in
from benchmarks.ground import CONNECTIONS, Ground
from benchmarks.load import Loaded, LoadFailed, Order, Target
from benchmarks.people import Plenty, settle
from benchmarks.table import Goal, Row

GOALS = {16: Goal(), 64: Goal(least=1.0)}
REPLY_GOAL = Goal(most=3)
AGAINST = "bare POST, one INSERT + commit"
SCORE = [Target("GET", "/auth/score")]
INSERT_ONE = [
    Target("POST", "/insert", json.dumps({"url": f"http://localhost:8080/images/{uuid4().hex}.png"}))
]
# Enough of each that a run has new pictures to like until its end.
PLENTY = Plenty(people=sum(CONNECTIONS), pictures=40, favorites=0)


class Likes:
    """Each user likes each picture once: a measurement continues where the previous one stopped."""

    def __init__(self, ground: Ground, address: str, pictures: list[str], people: tuple[str, ...]) -> None:
        targets = [Target("POST", "/auth/like", json.dumps({"url": url})) for url in pictures]
        self._pictures = len(targets)
        self._used = 0
        self._order = partial(_order, ground, address, targets, people)
        self._ground = ground

    def measure(self) -> Loaded:
        loaded = self._ground.load(self._order(start=self._used))
        self._used += loaded.farthest
        if self._used >= self._pictures:
            raise LoadFailed("no picture is left to like; ask for fewer rounds or seconds")
        return loaded


def rows(ground: Ground) -> Iterator[Row]:
    """Two writes for each number of connections, then the time of one reply."""
    bare_dsn = ground.database()
    with ground.serving() as (service, dsn), bare.running(bare_dsn, {}) as bare_address:
        town = settle(service.address, dsn, PLENTY)
        tokens = iter(town.tokens)
        for connections in CONNECTIONS:
            # Other users for each number of connections, who have liked nothing yet.
            people = tuple(itertools.islice(tokens, connections))
            likes = Likes(ground, service.address, town.pictures, people)
            yield from _compared(ground, service.address, bare_address, likes, people)
        yield _reply_row(ground, service.address, town.tokens[:1], bare_dsn)


def _compared(
    ground: Ground, address: str, bare_address: str, likes: Likes, people: tuple[str, ...]
) -> Iterator[Row]:
    connections = len(people)
    score = _order(ground, address, SCORE, people)
    insert = _order(ground, bare_address, INSERT_ONE, ("",) * connections)
    scored, liked, inserted = ground.rounds(
        f"writes, {connections} connections",
        (lambda: ground.load(score), likes.measure, lambda: ground.load(insert)),
    )
    for what, ours in (("GET /auth/score", scored), ("POST /auth/like", liked)):
        yield _rate_row(f"{what}, {connections} connections", ours, inserted, GOALS[connections])


def _order(
    ground: Ground, address: str, targets: list[Target], people: tuple[str, ...], start: int = 0
) -> Order:
    """One connection per user."""
    return Order(
        address=address,
        targets=targets,
        tokens=people,
        connections=len(people),
        seconds=ground.options.seconds,
        start=start,
    )


def _rate_row(what: str, ours: list[Loaded], theirs: list[Loaded], goal: Goal) -> Row:
    rates = [[loaded.per_second for loaded in loads] for loads in (ours, theirs)]
    return Row.of(what, AGAINST, rates[0], rates[1], "/s", goal)


def _reply_row(ground: Ground, address: str, one: tuple[str, ...], bare_dsn: str) -> Row:
    """Over HTTP with current tables, against a commit on an open connection."""
    ours, theirs = ground.rounds(
        "a write's reply",
        (
            lambda: ground.load(_order(ground, address, SCORE, one)).p50,
            lambda: _p50_of_commit(bare_dsn, ground.options.seconds),
        ),
    )
    return Row.of(
        "GET /auth/score, reply with tables current, p50", "bare commit, p50", ours, theirs, "s", REPLY_GOAL
    )


def _p50_of_commit(dsn: str, seconds: float) -> float:
    sample, taken = a_check_in(), []
    with psycopg.connect(dsn, autocommit=True) as connection:
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            connection.execute(INSERT, (uuid4(), 1, sample.topic, sample.state), prepare=True)
            taken.append(time.perf_counter() - began)
    return sorted(taken)[len(taken) // 2]
