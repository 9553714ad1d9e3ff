"""Register: open an account under a username and an e-mail address that nobody else has."""

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from huajuan.auth.passwords import Passwords
from huajuan.domain.account import Account
from huajuan.domain.aggregate import Entity
from huajuan.domain.credentials import check_name_fit, check_name_given, check_password, spell_name
from huajuan.domain.email_claim import EmailClaim, check_email
from huajuan.domain.refusals import EmailMissing, EmailTaken, NameTaken
from huajuan.event_store.loader import Stream
from huajuan.event_store.request_context import calling
from huajuan.event_store.store import Decided, EventStore


@dataclass(frozen=True)
class Form:
    """What an applicant fills in."""

    username: str
    email: str
    password: str


async def register(
    store: EventStore,
    passwords: Passwords,
    form: Form,
    welcome_points: int,
    *,
    needs_approval: bool = False,
    limit: AbstractAsyncContextManager[Any] | None = None,
) -> Decided:
    """The new account. Raises `FormRefused`, the first thing wrong named by its kind, and what `limit` raises.

    An account that an earlier run of the same command made is returned whatever the limit is.
    """
    _check(form)
    account_id = store.stream_ids.account(form.username)
    with calling(actor=account_id):
        earlier = await store.made_before(Stream(Account, account_id))
        if earlier:
            return earlier
        async with limit or nullcontext():
            return await _register(store, passwords, form, welcome_points, needs_approval=needs_approval)


async def _register(
    store: EventStore, passwords: Passwords, form: Form, welcome_points: int, *, needs_approval: bool
) -> Decided:
    account_id, claim_id = store.stream_ids.account(form.username), store.stream_ids.email_claim(form.email)
    # Look first: a password takes a while to hash, and names that are taken are asked for often.
    account, claim = await store.find(Account, account_id), await store.find(EmailClaim, claim_id)
    _refuse_taken(form, account, claim)
    password_hash = await passwords.hash(form.password)
    await store.keys.make(account_id)

    def decide(account: Account | None, claim: EmailClaim | None) -> Iterable[Entity]:
        _refuse_taken(form, account, claim)
        new = Account.register(account_id, spell_name(form.username), form.email, password_hash)
        if needs_approval:
            new.request_approval(welcome_points)
        else:
            new.grant(welcome_points, "welcome")
        return [new, _claimed(claim, claim_id, account_id)]

    return await store.change(decide, Stream(Account, account_id), Stream(EmailClaim, claim_id))


def _check(form: Form) -> None:
    check_name_given(form.username)
    if not form.email:
        raise EmailMissing
    check_password(form.password)
    check_email(form.email)


def _refuse_taken(form: Form, account: Account | None, claim: EmailClaim | None) -> None:
    if account:
        raise NameTaken
    if claim and claim.account_id is not None:
        raise EmailTaken
    check_name_fit(form.username)


def _claimed(claim: EmailClaim | None, claim_id: UUID, account_id: UUID) -> EmailClaim:
    if claim is None:
        return EmailClaim.begin(claim_id, account_id)
    claim.claim(account_id)
    return claim
