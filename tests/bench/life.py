"""Writes a log of any length for the benchmarks: people who check in, have pictures drawn, and like them."""

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eventsourcing.persistence import StoredEvent

from huajuan.domain.account import Account
from huajuan.domain.facts import Entity, Occasion, on_occasion
from huajuan.domain.image import Image, Order
from huajuan.domain.like import Like
from huajuan.event_store.mapper import EventMapper
from huajuan.event_store.opening import open_event_store, open_pool
from huajuan.event_store.sealing import new_key
from huajuan.projections.limits import ProjectionLimits
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.projector import open_projector
from tests.event_store.studio import now

BATCH_EVENTS = 5_000
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_APPEND = "SELECT log.append(%b::int[], %b::uuid[], %b::bigint[], %b::text[], %b::bytea[])"
_KEYS = "COPY operations.personal_keys (subject_id, key) FROM STDIN (FORMAT BINARY)"


def write_log(dsn: str, events: int, people: int) -> None:
    """At least `events` events; who acts is drawn by lot, so that streams lie scattered over the log."""
    lots = random.Random(7)
    keys = {_uuid(lots): new_key() for _ in range(people)}
    mapper = EventMapper(keys={person: AESGCM(key) for person, key in keys.items()})
    with psycopg.connect(dsn, autocommit=True) as connection:
        with connection.cursor() as cursor, cursor.copy(_KEYS) as copy:
            copy.set_types(["uuid", "bytea"])
            for row in keys.items():
                copy.write_row(row)
        _append_all(connection, _rows(mapper, list(keys), lots, events))


def _rows(mapper: EventMapper, people: list[UUID], lots: random.Random, events: int) -> Iterator[StoredEvent]:
    written = 0
    for aggregate in _life(people, lots):
        for event in aggregate.collect_events():
            yield mapper.to_stored_event(event)
            written += 1
        if written >= events:
            return


def _life(people: list[UUID], lots: random.Random) -> Iterator[Entity]:
    """For ever: what is stated next, as the aggregates that state it."""
    at, accounts = BEGAN, []
    for number, person in enumerate(people):
        with on_occasion(Occasion(at, None, _uuid(lots).hex)):
            accounts.append(Account.register(person, f"user{number}", f"user{number}@example.org", "h" * 60))
        yield accounts[-1]
    while True:
        at += timedelta(seconds=1)
        account = lots.choice(accounts)
        with on_occasion(Occasion(at, account.id, _uuid(lots).hex)):
            yield from _act(account, at, lots)


def _act(account: Account, at: datetime, lots: random.Random) -> Iterator[Entity]:
    if account.balance < 20:
        account.check_in(date(2026, 1, 1), once_a_day=False)
        yield account
        return
    image_id = _uuid(lots)
    account.hold(image_id, 20)
    yield account
    image = Image.request(
        image_id, account.id, Order("a red sun over hills", 400, 400, 30, "DDIM", "7"), 20, at
    )
    yield image
    if lots.random() < 0.1:
        image.fail("lost")
        account.take_back(image_id, "lost")
    else:
        image.draw(f"{image_id.hex}.png", "ab" * 32)
        account.settle(image_id)
    yield image
    yield account
    yield Like.begin(_uuid(lots), account.id, image_id)


def _uuid(lots: random.Random) -> UUID:
    return UUID(int=lots.getrandbits(128), version=4)


def _append_all(connection: psycopg.Connection, rows: Iterator[StoredEvent]) -> None:
    batch: list[StoredEvent] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH_EVENTS:
            _append(connection, batch)
            batch = []
    if batch:
        _append(connection, batch)


def _append(connection: psycopg.Connection, rows: list[StoredEvent]) -> None:
    tuples = [(0, r.originator_id, r.originator_version, r.topic, r.state) for r in rows]
    connection.execute(_APPEND, tuple(map(list, zip(*tuples, strict=True))))


def fold_balances(dsn: str) -> None:
    """Bring the table of balances to the log's end, with the projection's own folds."""
    with psycopg.connect(dsn) as connection:
        last = connection.execute("SELECT max(notification_id) FROM log.huajuan_events").fetchone()
    asyncio.run(_fold(dsn, int(last[0]) if last else 0))


async def _fold(dsn: str, last: int) -> None:
    async with (
        open_pool(dsn, 4) as pool,
        open_event_store(dsn, pool, now) as store,
        open_projector(dsn, store, [POINT_BALANCES], ProjectionLimits()) as projector,
    ):
        assert await projector.reach(last, POINT_BALANCES, seconds_max=last / 1_000)
