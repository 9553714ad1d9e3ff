"""Users with pictures, favorites and tokens in the database of a running service."""

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

import psycopg
import uvloop

from huajuan.commands.likes_and_favorites import favorite_image
from huajuan.domain.account import Account, require_account
from huajuan.domain.aggregate import AggregateRoot
from huajuan.domain.image import Image
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import EventStore
from tests.database import eventually
from tests.event_store.helpers import now, opened
from tests.projections.gallery import SUN
from tests.server.person import Person

REGISTERING_AT_ONCE = 8


class Town(NamedTuple):
    """One token per user, and the addresses of all pictures."""

    tokens: tuple[str, ...]
    pictures: list[str]


@dataclass(frozen=True)
class Plenty:
    """The number of users, and of pictures and favorites of each."""

    people: int = 64
    pictures: int = 20
    favorites: int = 20


def settle(address: str, dsn: str, plenty: Plenty = Plenty()) -> Town:
    """Registers and logs in users over HTTP; pictures are appended to the log as results of drawings."""
    names = [f"person{n}" for n in range(plenty.people)]
    with ThreadPoolExecutor(REGISTERING_AT_ONCE) as threads:
        people = list(threads.map(lambda name: Person(name, address), names))
    if plenty.pictures:
        uvloop.run(_draw_for_all(dsn, names, plenty))
        _wait_for_tables(people, address, plenty)
        _tidy(dsn)
    pictures = [image["picture"] for person in people for image in person.images(address)]
    return Town(tuple(map(token_of, people)), pictures)


def token_of(person: Person) -> str:
    return str(person.login_reply["token"])


async def _draw_for_all(dsn: str, names: Sequence[str], plenty: Plenty) -> None:
    async with opened(dsn) as store:
        accounts = [store.stream_ids.account(name) for name in names]
        images = await asyncio.gather(*(_draw(store, account, plenty.pictures) for account in accounts))
        one_each = list(zip(accounts, images[1:] + images[:1], strict=True))
        await asyncio.gather(
            *(_favor(store, account, others[: plenty.favorites]) for account, others in one_each)
        )


async def _draw(store: EventStore, account_id: UUID, pictures: int) -> list[UUID]:
    return [await _draw_one(store, account_id) for _ in range(pictures)]


async def _draw_one(store: EventStore, account_id: UUID) -> UUID:
    """Request and result in one append."""
    image_id = uuid4()

    def decide(found: Account | None) -> Iterable[AggregateRoot]:
        account = require_account(found)
        account.hold(image_id, 20)
        image = Image.request(image_id, account_id, SUN, 20, now() + timedelta(minutes=5))
        image.draw(f"{image_id.hex}.png", "ab")
        account.settle(image_id)
        return [account, image]

    await store.change(decide, Stream(Account, account_id))
    return image_id


async def _favor(store: EventStore, account_id: UUID, images: Sequence[UUID]) -> None:
    """Adds other users' pictures as favorites."""
    for image_id in images:
        await favorite_image(store, account_id, image_id)


def _wait_for_tables(people: Sequence[Person], address: str, plenty: Plenty) -> None:
    """The events are written by another process, so no reply waits for the tables."""
    for person in people:
        eventually(lambda person=person: len(person.images(address)) == plenty.pictures)  # type: ignore[misc]
        eventually(
            lambda person=person: (  # type: ignore[misc]
                len(person._get(f"{address}/auth/user/favoritedimages")["images"]) == plenty.favorites
            )
        )


def _tidy(dsn: str) -> None:
    """Does what jobs and autovacuum have done in a database in use."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM operations.job_leases")
        connection.execute("VACUUM ANALYZE")
