"""The end of a job: its picture is stored, the log records it with the payment, and waiters are woken."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import NamedTuple
from uuid import UUID

from huajuan.domain.account import Account
from huajuan.domain.aggregate import AggregateRoot
from huajuan.domain.image import Image
from huajuan.domain.refusals import ImageAlreadyFinished
from huajuan.event_store.errors import DatabaseFailure
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import EventStore
from huajuan.inference_client import Drawn, InvalidPicture
from huajuan.inference_client.picture import verify
from huajuan.postgres.retry import Backoff, retry
from huajuan.storage.pictures import PictureMissing, Pictures, StorageUnavailable, picture_key

OWNER_GONE = "the account was erased"
RECORDED_CHARACTERS_MAX = 500
STORE_TRIES_MAX = 5
STORE_PAUSE_SECONDS = 0.5
# For metrics: the server's address, a label, and the seconds since this process sent the job.
CountOutcome = Callable[[str, str, float | None], None]
DRAWN = "drawn"


class JobOutcome(NamedTuple):
    """The end of a job: the picture's key, or the reason for its failure; and the balance after it.

    `position` is that of the event `image.drawn`, which is the picture's id. `requested_at` is the position
    of `image.requested`, the job's id, in the reply to the request that created it.
    """

    picture: str | None
    reason: str | None
    balance: int
    position: int
    requested_at: int = 0


async def record_started(store: EventStore, image_id: UUID) -> Image:
    """Append that a server has accepted the job. Raises `ImageAlreadyFinished`."""

    def decide(image: Image | None) -> Iterable[AggregateRoot]:
        if image is None:
            raise ImageAlreadyFinished
        image.start()
        return [image]

    decided = await store.change(decide, Stream(Image, image_id))
    image: Image = decided.aggregates[0]
    return image


async def record_drawn(store: EventStore, image: Image, picture: str, drawn: Drawn) -> JobOutcome:
    """Settle the hold and record the stored picture, in one append."""
    digest = hashlib.sha256(drawn.content).hexdigest()

    def decide(image: Image, account: Account) -> None:
        if account.is_erased:
            image.fail(OWNER_GONE)
        else:
            checkpoint, version = recordable(drawn.checkpoint), recordable(drawn.version)
            image.draw(picture, digest, checkpoint, version, len(drawn.content))
            account.settle(image.id)

    return await _record_end(store, image, decide)


def recordable(text: str) -> str:
    """The printable characters of a server's text, up to a bound, so that any text can be appended."""
    return "".join(letter for letter in text if letter.isprintable())[:RECORDED_CHARACTERS_MAX]


async def record_failed(store: EventStore, image: Image, reason: str) -> JobOutcome:
    """Return the points and record the failure, in one append."""
    return await _record_without_picture(store, image, Image.fail, reason)


async def record_cancelled(store: EventStore, image: Image, reason: str) -> JobOutcome:
    """Return the points and record the cancellation, in one append."""
    return await _record_without_picture(store, image, Image.cancel, reason)


async def _record_without_picture(
    store: EventStore, image: Image, end: Callable[[Image, str], None], reason: str
) -> JobOutcome:
    def decide(image: Image, account: Account) -> None:
        end(image, reason)
        if not account.is_erased:  # an erasure has forfeited the hold
            account.return_points(image.id, reason)

    return await _record_end(store, image, decide)


async def _record_end(
    store: EventStore, image: Image, change: Callable[[Image, Account], None]
) -> JobOutcome:
    """A job that has ended already stays as it is; its recorded outcome is returned."""

    def decide(image: Image | None, account: Account | None) -> Iterable[AggregateRoot]:
        if image and account:
            change(image, account)
            return [account, image]
        return []

    streams = Stream(Image, image.id), Stream(Account, image.account_id)
    try:
        decided = await store.change(decide, *streams)
    except ImageAlreadyFinished:
        return await recorded_outcome(store, await store.find(Image, image.id) or image)
    account, ended = decided.aggregates
    return JobOutcome(ended.picture, ended.failure, account.balance, decided.position)


async def recorded_outcome(store: EventStore, image: Image) -> JobOutcome:
    """The outcome of a job that has ended, with the present balance."""
    account = await store.find(Account, image.account_id)
    topic = Image.DrawingFailed.TOPIC if image.picture is None else Image.Drawn.TOPIC
    position = await store.streams.last_position(image.id, topic)
    return JobOutcome(image.picture, image.failure, account.balance if account else 0, position)


class PictureNotStored(Exception):
    """The file under the image's key appeared and vanished at every try."""


async def store_picture(pictures: Pictures, image: Image, drawn: Drawn, seconds_max: float) -> Drawn:
    """As `store_first_picture`. While the store is unavailable it is retried for `seconds_max`."""
    backoff = Backoff(seconds_max, STORE_PAUSE_SECONDS, STORE_PAUSE_SECONDS)
    return await retry(partial(store_first_picture, pictures, image, drawn), backoff, (StorageUnavailable,))


async def store_first_picture(pictures: Pictures, image: Image, drawn: Drawn) -> Drawn:
    """The stored picture, which is the one to record: `drawn`, or that of an earlier attempt.

    The checkpoint and version of an earlier attempt's picture are unknown, so they are empty.
    Raises `PictureNotStored`, and what the store raises.
    """
    for _ in range(STORE_TRIES_MAX):
        if await pictures.put_if_absent(image.id, drawn.content):
            return drawn
        with suppress(PictureMissing):  # removed meanwhile
            stored = await pictures.whole(picture_key(image.id))
            if stored == drawn.content:
                return drawn
            if await asyncio.to_thread(_is_whole, stored, image):
                return Drawn(stored)
            # A crash truncated the file. No event names it: only a whole picture is recorded.
            await pictures.remove(picture_key(image.id))
    raise PictureNotStored


def _is_whole(stored: bytes, image: Image) -> bool:
    try:
        verify(stored, image.width, image.height)
    except InvalidPicture:
        return False
    return True


class Completions:
    """Waiters for the ends of jobs, woken by this process, by the queue's channel, or by polling the log."""

    def __init__(self, store: EventStore, poll_seconds: float) -> None:
        self._store = store
        self._poll_seconds = poll_seconds
        self._waiting: dict[UUID, list[asyncio.Future[JobOutcome | None]]] = {}

    def notify(self, image_id: UUID, outcome: JobOutcome | None) -> None:
        """Wake the waiters of a job that has ended. `None` makes them read the outcome from the log."""
        for future in self._waiting.get(image_id, []):
            if not future.done():
                future.set_result(outcome)

    async def wait(self, image_id: UUID) -> JobOutcome:
        """Wait without a time limit."""
        while True:
            with self._registered(image_id) as future:
                if recorded := await self._find(image_id):
                    return recorded
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_seconds):
                        if outcome := await future:
                            return outcome

    @contextmanager
    def _registered(self, image_id: UUID) -> Iterator["asyncio.Future[JobOutcome | None]"]:
        future: asyncio.Future[JobOutcome | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(image_id, []).append(future)
        try:
            yield future
        finally:
            self._waiting[image_id].remove(future)
            if not self._waiting[image_id]:
                del self._waiting[image_id]

    async def _find(self, image_id: UUID) -> JobOutcome | None:
        """`None` while the job is open, and when the log cannot be read."""
        with suppress(DatabaseFailure):
            image = await self._store.find(Image, image_id)
            if image and not image.is_open:
                return await recorded_outcome(self._store, image)
        return None
