"""Update one's account: e-mail, password and avatar, all of it or nothing."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from huajuan.auth.passwords import Passwords
from huajuan.domain.account import Account, known
from huajuan.domain.aggregate import Entity
from huajuan.domain.avatar import check_avatar
from huajuan.domain.credentials import check_password
from huajuan.domain.email_claim import EmailClaim, check_email, fold_email
from huajuan.domain.refusals import Refused, WrongPassword
from huajuan.event_store.errors import LogBusy
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided, EventStore

TRIES_MAX = 5
Apply = Callable[[Account | None], Account]


@dataclass(frozen=True)
class Changes:
    """What is `None` stays as it is. `proven` is the credential whose password was shown, if one was."""

    email: str | None = None
    password: str | None = None
    avatar_url: str | None = None
    proven: int | None = None


async def updated_earlier(store: EventStore, account_id: UUID) -> Decided | None:
    """By an earlier run of the same command, since when the old password may be another."""
    return await store.made_before(Stream(Account, account_id))


async def update_account(
    store: EventStore, passwords: Passwords, account_id: UUID, changes: Changes
) -> Decided:
    """One append for everything. Raises `FormRefused`, `NotRegistered` or `WrongPassword`."""
    check_changes(changes)
    known(await store.find(Account, account_id))
    password_hash = await passwords.hash(changes.password) if changes.password is not None else None

    def apply(found: Account | None) -> Account:
        account = known(found)
        if changes.proven not in (None, account.credential):
            raise WrongPassword
        if password_hash is not None:
            account.change_password(password_hash)
        if changes.avatar_url is not None:
            account.change_avatar(changes.avatar_url)
        if changes.email is not None:
            account.change_email(changes.email)
        return account

    for _ in range(TRIES_MAX):
        with suppress(_EmailChangedMeanwhile):
            return await _append(store, account_id, changes.email, apply)
    raise LogBusy


async def _append(store: EventStore, account_id: UUID, email: str | None, apply: Apply) -> Decided:
    old_email = known(await store.find(Account, account_id)).email or ""
    if email is None or fold_email(email) == fold_email(old_email):
        return await _stay(store, account_id, None if email is None else old_email, apply)
    return await _move(store, account_id, old_email, email, apply)


async def _stay(store: EventStore, account_id: UUID, email: str | None, apply: Apply) -> Decided:
    """No address is claimed or released; `email` is the one that the account has to have for that."""

    def decide(account: Account | None) -> Iterable[Entity]:
        if email is not None and known(account).email != email:
            raise _EmailChangedMeanwhile
        return [apply(account)]

    return await store.change(decide, Stream(Account, account_id))


def check_changes(changes: Changes) -> None:
    """Raises `FormRefused` for what no account can have."""
    if changes.email is not None:
        check_email(changes.email)
    if changes.password is not None:
        check_password(changes.password)
    if changes.avatar_url is not None:
        check_avatar(changes.avatar_url)


async def _move(store: EventStore, account_id: UUID, old: str, new: str, apply: Apply) -> Decided:
    """The new address is claimed and the old one released in the same append."""
    new_id, old_id = store.stream_ids.email_claim(new), store.stream_ids.email_claim(old)

    def decide(
        account: Account | None, claim: EmailClaim | None, released: EmailClaim | None
    ) -> Iterable[Entity]:
        if known(account).email != old:
            raise _EmailChangedMeanwhile
        return [apply(account), *_claims(claim, released, new_id, account_id)]

    streams = Stream(Account, account_id), Stream(EmailClaim, new_id), Stream(EmailClaim, old_id)
    return await store.change(decide, *streams)


def _claims(
    claim: EmailClaim | None, released: EmailClaim | None, new_id: UUID, account_id: UUID
) -> Iterable[EmailClaim]:
    if claim is None:
        claim = EmailClaim.begin(new_id, account_id)
    else:
        claim.claim(account_id)
    if released is None:
        return [claim]
    released.release()
    return [claim, released]


class _EmailChangedMeanwhile(Refused):
    """The address to be released is another by now."""
