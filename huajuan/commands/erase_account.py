"""Erase one's account: the person is forgotten, their points are forfeited, their name is never free again."""

from collections.abc import Iterable
from contextlib import suppress
from uuid import UUID

from huajuan.dispatch.erasures import Erasures
from huajuan.domain.account import Account, known
from huajuan.domain.email_claim import EmailClaim
from huajuan.domain.facts import Entity
from huajuan.domain.refusals import Refused
from huajuan.event_store.after_commit import after_commit
from huajuan.event_store.errors import LogBusy
from huajuan.event_store.loading import Stream
from huajuan.event_store.store import Decided, EventStore

TRIES_MAX = 5


async def erase_account(store: EventStore, erasures: Erasures, account_id: UUID) -> Decided:
    """One append; their pictures, likes and favorites follow, a batch at a time. Raises `NotRegistered`."""
    if earlier := await store.made_before(Stream(Account, account_id)):
        return earlier
    known(await store.find(Account, account_id))
    await erasures.put(account_id)
    for _ in range(TRIES_MAX):
        with suppress(_EmailChangedMeanwhile):
            decided = await _append(store, account_id)
            with after_commit("forget the person"):
                store.forget(account_id)
            return decided
    raise LogBusy


async def _append(store: EventStore, account_id: UUID) -> Decided:
    """The address is given up in the same append, for somebody else to claim."""
    email = known(await store.find(Account, account_id)).email or ""

    def decide(found: Account | None, claim: EmailClaim | None) -> Iterable[Entity]:
        account = known(found)
        if account.email != email:
            raise _EmailChangedMeanwhile
        account.erase()
        if claim is None:
            return [account]
        claim.release()
        return [account, claim]

    claim_id = store.stream_ids.email_claim(email)
    return await store.change(decide, Stream(Account, account_id), Stream(EmailClaim, claim_id))


class _EmailChangedMeanwhile(Refused):
    """The address to be given up is another by now."""
