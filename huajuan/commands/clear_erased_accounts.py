"""Clear erased accounts: a person's pictures, likes and favorites go after them, a batch at a time."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import structlog

from huajuan.domain.account import Account
from huajuan.domain.aggregate import Entity
from huajuan.domain.favorite import Favorite
from huajuan.domain.image import Image
from huajuan.domain.like import Like
from huajuan.event_store.errors import LogError
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import EventStore
from huajuan.storage.avatar_files import AvatarFiles
from huajuan.storage.deleted_pictures import Trash
from huajuan.storage.erasures import Erasures, Waiting
from huajuan.storage.pictures import StoreAway

# An erasure is put down before it is stated; after so long it never will be.
STATING_SECONDS_MAX = 120
_logger = structlog.get_logger(__name__)


class Belongings(Protocol):
    """What the read tables still know of a person; `unfinished` counts pictures that are being drawn."""

    @property
    def images(self) -> list[UUID]: ...
    @property
    def likes(self) -> list[UUID]: ...
    @property
    def favorites(self) -> list[UUID]: ...
    @property
    def unfinished(self) -> int: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Estate:
    """All that clearing needs. `belongings` gets an account, how many of each kind at most, and the log's
    position that the read tables must have reached. `forget_replies` gets an account and how many of the replies
    that are kept for it at most. `forget_statistics` makes the database forget what
    values it met in the columns that had something of a person.

    Requests in hand when the person went may add to what they left, so for `settle_seconds` nobody is done.
    """

    store: EventStore
    erasures: Erasures
    trash: Trash
    avatars: AvatarFiles
    belongings: Callable[[UUID, int, int], Awaitable[Belongings]]
    forget_replies: Callable[[UUID, int], Awaitable[int]]
    forget_statistics: Callable[[], Awaitable[None]]
    batch_max: int
    settle_seconds: float


async def clear_erased_accounts(estate: Estate) -> int:
    """How many people nothing is left of; the others wait for the next time."""
    waiting = await estate.erasures.waiting(estate.batch_max)
    cleared = [erasure.account_id for erasure in waiting if await _is_clear(estate, erasure)]
    if cleared:
        await estate.forget_statistics()
    for account_id in cleared:
        await estate.erasures.done(account_id)
    return len(cleared)


async def keep_clearing_erased_accounts(estate: Estate, every_seconds: float) -> None:
    """For ever: at once, whenever somebody is erased here, and on a timer."""
    while True:
        try:
            await clear_erased_accounts(estate)
        except (LogError, OSError) as error:
            _logger.warning("erased accounts left for later", error=type(error).__name__)
        await estate.erasures.wait(every_seconds)


async def _is_clear(estate: Estate, erasure: Waiting) -> bool:
    account = await estate.store.find(Account, erasure.account_id)
    if account is None or not account.is_erased:
        return erasure.age_seconds > STATING_SECONDS_MAX
    left = await _withdraw_all(estate, account.id)
    try:
        while await estate.avatars.remove_those_of(account.id, estate.batch_max) == estate.batch_max:
            pass
    except StoreAway as error:
        _logger.warning("avatars left for later", error=str(error))
        return False
    return not left and erasure.age_seconds > estate.settle_seconds


async def _withdraw_all(estate: Estate, account_id: UUID) -> int:
    """How many pictures are still being drawn: they come to their end first."""
    while await estate.forget_replies(account_id, estate.batch_max) == estate.batch_max:
        pass
    position = 0
    while left := await estate.belongings(account_id, estate.batch_max, position):
        await estate.trash.put(left.images, estate.store.clock())
        position = max(
            await _state(estate.store, Image, left.images, Image.erase),
            await _state(estate.store, Like, left.likes, Like.withdraw),
            await _state(estate.store, Favorite, left.favorites, Favorite.withdraw),
        )
        if not position:  # the tables are behind
            return len(left)
    return left.unfinished


async def _state(store: EventStore, kind: type[Entity], ids: list[UUID], verb: Callable[..., None]) -> int:
    """One event each, in one append; the log's position after it, 0 if there was nothing to state."""

    def decide(*found: Entity | None) -> Iterable[Entity]:
        those = [one for one in found if one]
        for one in those:
            verb(one)
        return those

    return (await store.change(decide, *(Stream(kind, i) for i in ids))).position if ids else 0
