"""Erase one's account: the person is forgotten, their points are forfeited, their name is never free again."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from uuid import UUID

from huajuan.domain.account import Account, known
from huajuan.domain.aggregate import Entity
from huajuan.domain.email_claim import EmailClaim
from huajuan.domain.reasons import check_reason
from huajuan.domain.refusals import Refused
from huajuan.event_store.after_commit import after_commit
from huajuan.event_store.errors import LogBusy
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided, EventStore
from huajuan.storage.erasures import Erasures

TRIES_MAX = 5
Look = Callable[[Account], object]
Verb = Callable[[Account], None]


async def erase_account(store: EventStore, erasures: Erasures, account_id: UUID) -> Decided:
    """One append; their pictures, likes and favorites follow, a batch at a time. Raises `NotRegistered`."""
    return await _end(store, erasures, account_id, lambda _: None, Account.erase)


async def reject_account(store: EventStore, erasures: Erasures, account_id: UUID, reason: str) -> Decided:
    """An account that waits for approval is erased instead. Raises `ReasonMissing`, `NotRegistered` or `NotPending`."""
    check_reason(reason)
    return await _end(
        store, erasures, account_id, Account.check_pending, lambda account: account.reject(reason)
    )


async def _end(store: EventStore, erasures: Erasures, account_id: UUID, check: Look, verb: Verb) -> Decided:
    if earlier := await store.made_before(Stream(Account, account_id)):
        return earlier
    check(known(await store.find(Account, account_id)))
    await erasures.put(account_id)
    for _ in range(TRIES_MAX):
        with suppress(_EmailChangedMeanwhile):
            decided = await _append(store, account_id, verb)
            with after_commit("forget the person"):
                store.forget(account_id)
            return decided
    raise LogBusy


async def _append(store: EventStore, account_id: UUID, verb: Verb) -> Decided:
    """The address is given up in the same append, for somebody else to claim."""
    email = known(await store.find(Account, account_id)).email or ""

    def decide(found: Account | None, claim: EmailClaim | None) -> Iterable[Entity]:
        account = known(found)
        if account.email != email:
            raise _EmailChangedMeanwhile
        verb(account)
        if claim is None:
            return [account]
        claim.release()
        return [account, claim]

    claim_id = store.stream_ids.email_claim(email)
    return await store.change(decide, Stream(Account, account_id), Stream(EmailClaim, claim_id))


class _EmailChangedMeanwhile(Refused):
    """The address to be given up is another by now."""
