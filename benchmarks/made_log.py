"""Generates a long log quickly: users, pictures and likes with long-tailed distributions, in a realistic
order.
"""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import psycopg
from eventsourcing.persistence import StoredEvent

from huajuan.domain.account import Account
from huajuan.domain.aggregate import AggregateRoot, EventMetadata, with_event_metadata
from huajuan.domain.image import Image, ImageParameters
from huajuan.domain.like_and_favorite import Favorite, Like
from huajuan.event_store.mapper import EventMapper
from tests.event_store.samples import OneKey

ACCOUNTS = 20_000
BATCH_EVENTS = 10_000
_APPEND = "SELECT log.append(%b::int[], %b::uuid[], %b::bigint[], %b::text[], %b::bytea[])"
_KEYS = "INSERT INTO operations.personal_keys SELECT unnest(%b::uuid[]), %b ON CONFLICT DO NOTHING"
# The number of each act in a hundred acts.
ACTS = {"draw": 22, "check_in": 18, "like": 40, "favorite": 14, "unlike": 6}


class Town:
    """All accounts and pictures; one call of `act` appends the events of one request."""

    def __init__(self, events: int, seed: int = 7) -> None:
        self._random = random.Random(seed)
        self._people_max = min(ACCOUNTS, max(10, events // 50))
        self._people: list[Account] = []
        self._images: list[Image] = []
        self._likes: dict[tuple[UUID, UUID], Like] = {}
        self._favorites: set[tuple[UUID, UUID]] = set()
        self._at = datetime(2026, 1, 1, tzinfo=UTC)

    def act(self) -> list[AggregateRoot]:
        self._at += timedelta(seconds=7)
        with with_event_metadata(EventMetadata(self._at, None, "made")):
            grows = len(self._people) < self._people_max and self._random.random() < 0.08
            if grows or not self._people:
                return [self._register()]
            (act,) = self._random.choices(list(ACTS), list(ACTS.values()))
            return [one for one in getattr(self, act)(self._somebody()) if one.pending_events]

    def _id(self) -> UUID:
        return UUID(int=self._random.getrandbits(128), version=4)

    def _register(self) -> Account:
        name = f"user{len(self._people)}"
        person = Account.register(self._id(), name, f"{name}@example.org", "$2b$12$" + "h" * 53)
        person.grant(1_000, "welcome")
        self._people.append(person)
        return person

    def _somebody(self) -> Account:
        """A few users do most acts."""
        return self._people[int(len(self._people) * self._random.random() ** 2.5)]

    def _hot(self) -> Image | None:
        """The newest pictures are used most."""
        back = int(len(self._images) * self._random.random() ** 6)
        return self._images[-1 - back] if self._images else None

    def check_in(self, person: Account) -> Iterator[AggregateRoot]:
        person.check_in(date.fromordinal(738_000 + person.version), once_a_day=False)
        yield person

    def draw(self, person: Account) -> Iterator[AggregateRoot]:
        """Request and result in one append; one in twenty fails."""
        if person.balance < 20:
            yield from self.check_in(person)
            return
        image_id, seed = self._id(), str(self._random.getrandbits(32))
        order = ImageParameters(f"a house by the sea number {seed}", 512, 512, 30, "DDIM", seed)
        image = Image.request(image_id, person.id, order, 20, self._at + timedelta(minutes=5))
        person.hold(image_id, 20)
        if self._random.random() < 0.05:
            image.fail("lost")
            person.return_points(image_id, "lost")
        else:
            image.draw(f"{image_id.hex}.png", "ab" * 32)
            person.settle(image_id)
            self._images.append(image)
        yield from (person, image)

    def like(self, person: Account) -> Iterator[AggregateRoot]:
        image = self._hot()
        if image and (person.id, image.id) not in self._likes:
            like = self._likes[person.id, image.id] = Like.begin(self._id(), person.id, image.id)
            yield like

    def unlike(self, _: Account) -> Iterator[AggregateRoot]:
        if self._likes:
            like = self._likes.popitem()[1]
            like.take_back()
            yield like

    def favorite(self, person: Account) -> Iterator[AggregateRoot]:
        image = self._hot()
        if image and (person.id, image.id) not in self._favorites:
            self._favorites.add((person.id, image.id))
            yield Favorite.begin(self._id(), person.id, image.id)


def make_log(dsn: str, events: int) -> int:
    """Needs an empty log; returns its number of events. All accounts have the same key."""
    town, mapper, made = Town(events), EventMapper(keys=OneKey()), 0
    with psycopg.connect(dsn, autocommit=True) as connection:
        while made < events:
            rows: list[StoredEvent] = []
            while len(rows) < min(BATCH_EVENTS, events - made):
                rows += [mapper.to_stored_event(e) for one in town.act() for e in one.collect_events()]
            _append(connection, rows)
            made += len(rows)
        connection.execute("VACUUM ANALYZE log.huajuan_events")
    return made


def _append(connection: psycopg.Connection, rows: list[StoredEvent]) -> None:
    people = [row.originator_id for row in rows if row.topic == "account.registered"]
    connection.execute(_KEYS, (people, b"k" * 32))
    streams, versions = [r.originator_id for r in rows], [r.originator_version for r in rows]
    topics, states = [r.topic for r in rows], [r.state for r in rows]
    connection.execute(_APPEND, ([0] * len(rows), streams, versions, topics, states))
