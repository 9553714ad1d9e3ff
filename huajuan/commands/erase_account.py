"""Erase an account at once, and its pictures, likes and favorites in batches afterwards."""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import structlog

from huajuan.domain.account import Account, PersonalData, require_account
from huajuan.domain.aggregate import AggregateRoot
from huajuan.domain.email_claim import EmailChangedConcurrently, EmailClaim
from huajuan.domain.image import Image
from huajuan.domain.like_and_favorite import Favorite, Like
from huajuan.domain.rules import check_reason
from huajuan.event_store.errors import DatabaseBusy
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import ChangeResult, EventStore, after_commit
from huajuan.runtime.periodic import periodic
from huajuan.storage.deletions import AvatarFiles, DeletedPictures, Erasures, PendingErasure
from huajuan.storage.pictures import StorageUnavailable

TRIES_MAX = 5
# An erasure is queued before its event is appended. After this time the event never will be.
APPEND_SECONDS_MAX = 120
Check = Callable[[Account], object]
Change = Callable[[Account], None]
_logger = structlog.get_logger(__name__)


async def erase_account(store: EventStore, erasures: Erasures, account_id: UUID) -> ChangeResult:
    """Forget the person and forfeit the points, in one append. The username is never free again.

    Raises `NotRegistered`.
    """
    return await _erase(store, erasures, account_id, lambda _: None, Account.erase)


async def reject_account(
    store: EventStore, erasures: Erasures, account_id: UUID, reason: str
) -> ChangeResult:
    """Erase an account that waits for approval. Raises `ReasonInvalid`, `NotRegistered` or `NotPending`."""
    check_reason(reason)
    return await _erase(
        store, erasures, account_id, Account.check_pending, lambda account: account.reject(reason)
    )


async def _erase(
    store: EventStore, erasures: Erasures, account_id: UUID, check: Check, change: Change
) -> ChangeResult:
    if earlier := await store.previous_result(Stream(Account, account_id)):
        return earlier
    check(require_account(await store.find(Account, account_id)))
    await erasures.put(account_id)
    for _ in range(TRIES_MAX):
        with suppress(EmailChangedConcurrently):
            decided = await _append(store, account_id, change)
            with after_commit("forget the person"):
                store.drop_account(account_id)
            return decided
    raise DatabaseBusy


async def _append(store: EventStore, account_id: UUID, change: Change) -> ChangeResult:
    """Release the claim on the e-mail address in the same append."""
    email = require_account(await store.find(Account, account_id)).email or ""

    def decide(found: Account | None, claim: EmailClaim | None) -> Iterable[AggregateRoot]:
        account = require_account(found)
        if account.email != email:
            raise EmailChangedConcurrently
        change(account)
        if claim is None:
            return [account]
        claim.release()
        return [account, claim]

    claim_id = store.stream_ids.email_claim(email)
    return await store.change(decide, Stream(Account, account_id), Stream(EmailClaim, claim_id))


@dataclass(frozen=True)
class ErasureJob:
    """The services that clear erased accounts, handed in because commands import no read tables.

    `personal_data(account_id, most, position)` reads at most `most` items of each kind, from tables that
    have reached the position. `forget_replies(account_id, most)` deletes at most `most` stored replies and
    returns how many. `forget_statistics` resets the column statistics, which contain sample values.
    An erasure completes `grace_seconds` after its request at the earliest, because requests in progress may
    still add data.
    """

    store: EventStore
    erasures: Erasures
    deleted_pictures: DeletedPictures
    avatars: AvatarFiles
    personal_data: Callable[[UUID, int, int], Awaitable[PersonalData]]
    forget_replies: Callable[[UUID, int], Awaitable[int]]
    forget_statistics: Callable[[], Awaitable[None]]
    batch_max: int
    grace_seconds: float


async def run_erasure_jobs(job: ErasureJob, every_seconds: float) -> None:
    """Clear erased accounts at start, periodically, and whenever an account is erased in this process."""
    clear = partial(clear_erased_accounts, job)
    await periodic("clear erased accounts", clear, every_seconds, wakeup=job.erasures.wakeup)


async def clear_erased_accounts(job: ErasureJob) -> int:
    """Return how many erasures are now complete; the others are tried again next time."""
    waiting = await job.erasures.waiting(job.batch_max)
    cleared = [erasure.account_id for erasure in waiting if await _is_clear(job, erasure)]
    if cleared:
        await job.forget_statistics()
    for account_id in cleared:
        await job.erasures.done(account_id)
    return len(cleared)


async def _is_clear(job: ErasureJob, erasure: PendingErasure) -> bool:
    account = await job.store.find(Account, erasure.account_id)
    if account is None or not account.is_erased:
        return erasure.age_seconds > APPEND_SECONDS_MAX
    remaining = await _erase_data(job, account.id)
    try:
        while await job.avatars.remove_avatars_of(account.id, job.batch_max) == job.batch_max:
            pass
    except StorageUnavailable as error:
        _logger.warning("avatars not removed", error=str(error))
        return False
    return not remaining and erasure.age_seconds > job.grace_seconds


async def _erase_data(job: ErasureJob, account_id: UUID) -> int:
    """Return how many items remain, such as pictures in progress, which are erased after their outcome."""
    while await job.forget_replies(account_id, job.batch_max) == job.batch_max:
        pass
    position = 0
    while data := await job.personal_data(account_id, job.batch_max, position):
        await job.deleted_pictures.put(data.images, job.store.clock())
        position = max(
            await _change_all(job.store, Image, data.images, Image.erase),
            await _change_all(job.store, Like, data.likes, Like.withdraw),
            await _change_all(job.store, Favorite, data.favorites, Favorite.withdraw),
        )
        if not position:  # nothing was appended: the tables are stale
            return len(data)
    return data.unfinished


async def _change_all(
    store: EventStore, kind: type[AggregateRoot], ids: list[UUID], change: Callable[..., None]
) -> int:
    """Change all aggregates in one append; return the position after it, 0 if nothing was appended."""

    def decide(*found: AggregateRoot | None) -> Iterable[AggregateRoot]:
        aggregates = [one for one in found if one]
        for aggregate in aggregates:
            change(aggregate)
        return aggregates

    return (await store.change(decide, *(Stream(kind, i) for i in ids))).position if ids else 0
