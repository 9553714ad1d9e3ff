"""Tells the log how a drawing ended: picture and payment together, or neither."""

import hashlib
from collections.abc import Callable, Iterable
from typing import NamedTuple
from uuid import UUID

from huajuan.domain.account import Account
from huajuan.domain.aggregate import Entity
from huajuan.domain.image import Image
from huajuan.domain.refusals import AlreadyTold
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import EventStore
from huajuan.inference_client import Drawn

OWNER_GONE = "the account was erased"
RECORDED_CHARACTERS_MAX = 500


class Ending(NamedTuple):
    """How a job ended: a picture's key, or the reason why there is none, and the balance after it.

    `position` is the log's after the telling, which is that of `image.drawn` itself and so the picture's id.
    `requested_at` is the position of `image.requested`, the job's id, in the reply to the request that made it.
    """

    picture: str | None
    reason: str | None
    balance: int
    position: int
    requested_at: int = 0


async def tell_drawn(store: EventStore, image: Image, picture: str, made: Drawn) -> Ending:
    """Settle the hold and record the stored picture, in one append."""
    digest = hashlib.sha256(made.content).hexdigest()

    def drawn(image: Image, account: Account) -> None:
        if account.is_erased:
            image.fail(OWNER_GONE)
        else:
            checkpoint, version = recordable(made.checkpoint), recordable(made.version)
            image.draw(picture, digest, checkpoint, version, len(made.content))
            account.settle(image.id)

    return await _tell(store, image, drawn)


def recordable(text: str) -> str:
    """What a server says of itself may hold anything, and must not keep a picture off the record."""
    return "".join(letter for letter in text if letter.isprintable())[:RECORDED_CHARACTERS_MAX]


async def tell_failed(store: EventStore, image: Image, reason: str) -> Ending:
    """Return the points and record the reason, in one append."""

    def failed(image: Image, account: Account) -> None:
        image.fail(reason)
        if not account.is_erased:  # then what was held is forfeited already
            account.take_back(image.id, reason)

    return await _tell(store, image, failed)


async def tell_started(store: EventStore, image_id: UUID) -> Image:
    """A painter takes it up. Raises `AlreadyTold`."""

    def started(image: Image | None) -> Iterable[Entity]:
        if image is None:
            raise AlreadyTold
        image.start()
        return [image]

    decided = await store.change(started, Stream(Image, image_id))
    image: Image = decided.aggregates[0]
    return image


async def tell_cancelled(store: EventStore, image: Image, reason: str) -> Ending:
    """Return the points of a job that nobody wants any more, in one append."""

    def cancelled(image: Image, account: Account) -> None:
        image.cancel(reason)
        if not account.is_erased:
            account.take_back(image.id, reason)

    return await _tell(store, image, cancelled)


async def _tell(store: EventStore, image: Image, say: Callable[[Image, Account], None]) -> Ending:
    """Whoever tells second changes nothing and learns how the job had ended."""

    def decide(image: Image | None, account: Account | None) -> Iterable[Entity]:
        if image and account:
            say(image, account)
            return [account, image]
        return []

    streams = Stream(Image, image.id), Stream(Account, image.account_id)
    try:
        decided = await store.change(decide, *streams)
    except AlreadyTold:
        return await _as_told_first(store, image)
    account, told = decided.aggregates
    return Ending(told.picture, told.failure, account.balance, decided.position)


async def _as_told_first(store: EventStore, image: Image) -> Ending:
    return await ending_of(store, await store.find(Image, image.id) or image)


async def ending_of(store: EventStore, told: Image) -> Ending:
    """How a job ended that somebody else has told of, and the balance by now."""
    account = await store.find(Account, told.account_id)
    topic = Image.DrawingFailed.TOPIC if told.picture is None else Image.Drawn.TOPIC
    position = await store.earlier.position_of(told.id, topic)
    return Ending(told.picture, told.failure, account.balance if account else 0, position)
