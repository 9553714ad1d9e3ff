"""Register an account, log in, and update e-mail, password and avatar."""

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from huajuan.auth.passwords import Passwords
from huajuan.domain.account import Account, decide_on_account, require_account
from huajuan.domain.aggregate import AggregateRoot
from huajuan.domain.credentials import (
    AuthenticatedAccount,
    check_password,
    check_username,
    normalize_username,
    require_username,
)
from huajuan.domain.email_claim import EmailChangedConcurrently, EmailClaim, check_email, fold_email
from huajuan.domain.refusals import (
    AccountBanned,
    AccountPending,
    EmailMissing,
    EmailTaken,
    NotRegistered,
    UsernameTaken,
    WrongPassword,
)
from huajuan.domain.rules import check_avatar
from huajuan.event_store.errors import DatabaseBusy
from huajuan.event_store.loader import Stream
from huajuan.event_store.request_context import with_request_context
from huajuan.event_store.store import ChangeResult, EventStore

TRIES_MAX = 5


@dataclass(frozen=True)
class RegistrationForm:
    """The fields of a registration."""

    username: str
    email: str
    password: str


@dataclass(frozen=True)
class AccountChanges:
    """The new values; `None` keeps a field. The password of `verified_credential` was verified."""

    email: str | None = None
    password: str | None = None
    avatar_url: str | None = None
    verified_credential: int | None = None


async def register(
    store: EventStore,
    passwords: Passwords,
    form: RegistrationForm,
    welcome_points: int,
    *,
    needs_approval: bool = False,
    limit: AbstractAsyncContextManager[Any] | None = None,
) -> ChangeResult:
    """Create the account. Raises a `FormInvalid` for the first invalid field, and what `limit` raises.

    The result of an earlier run of the same command is returned without regard to `limit`.
    """
    require_username(form.username)
    if not form.email:
        raise EmailMissing
    check_password(form.password)
    check_email(form.email)
    account_id = store.stream_ids.account(form.username)
    with with_request_context(actor=account_id):
        earlier = await store.previous_result(Stream(Account, account_id))
        if earlier:
            return earlier
        async with limit or nullcontext():
            return await _register(store, passwords, form, welcome_points, needs_approval=needs_approval)


async def _register(
    store: EventStore,
    passwords: Passwords,
    form: RegistrationForm,
    welcome_points: int,
    *,
    needs_approval: bool,
) -> ChangeResult:
    account_id, claim_id = store.stream_ids.account(form.username), store.stream_ids.email_claim(form.email)
    # Checked before hashing, because hashing is slow and taken names are requested often.
    _check_available(form, await store.find(Account, account_id), await store.find(EmailClaim, claim_id))
    password_hash = await passwords.hash(form.password)
    await store.keys.make(account_id)

    def decide(found: Account | None, claim: EmailClaim | None) -> Iterable[AggregateRoot]:
        _check_available(form, found, claim)
        account = Account.register(account_id, normalize_username(form.username), form.email, password_hash)
        if needs_approval:
            account.request_approval(welcome_points)
        else:
            account.grant(welcome_points, "welcome")
        return [account, _claim_email(claim, claim_id, account_id)]

    return await store.change(decide, Stream(Account, account_id), Stream(EmailClaim, claim_id))


def _check_available(form: RegistrationForm, account: Account | None, claim: EmailClaim | None) -> None:
    if account:
        raise UsernameTaken
    if claim and claim.account_id is not None:
        raise EmailTaken
    check_username(form.username)


def _claim_email(claim: EmailClaim | None, claim_id: UUID, account_id: UUID) -> EmailClaim:
    if claim is None:
        return EmailClaim.begin(claim_id, account_id)
    claim.claim(account_id)
    return claim


async def login(
    store: EventStore, passwords: Passwords, username: str, password: str
) -> AuthenticatedAccount:
    """Verify the password. Unknown names cost a hash too, so timing does not reveal who is registered.

    Raises `NotRegistered`, `WrongPassword`, `AccountBanned` or `AccountPending`.
    """
    account = await store.find(Account, store.stream_ids.account(username))
    # Copied before the next await: the aggregate may change meanwhile.
    authenticated = _authenticated(account) if account else None
    password_hash = account.password_hash if account else None
    matches = await passwords.match(password, password_hash)
    if account is None or authenticated is None or password_hash is None:
        raise NotRegistered
    if not matches:
        raise WrongPassword
    if account.is_banned:
        raise AccountBanned
    if account.is_pending:
        raise AccountPending
    return authenticated


def _authenticated(account: Account) -> AuthenticatedAccount:
    username, avatar_url = account.username or "", account.avatar_url or ""
    return AuthenticatedAccount(account.id, username, account.credential, avatar_url)


async def set_avatar(store: EventStore, account_id: UUID, url: str) -> ChangeResult:
    """An empty `url` removes the avatar. Raises `AvatarUrlInvalid` or `NotRegistered`."""
    check_avatar(url)
    decide = decide_on_account(lambda account: account.change_avatar(url))
    return await store.change(decide, Stream(Account, account_id))


async def previous_update(store: EventStore, account_id: UUID) -> ChangeResult | None:
    """Return the result of an earlier run of the same command. Asked before the password is verified,
    because that run may have changed it.
    """
    return await store.previous_result(Stream(Account, account_id))


async def update_account(
    store: EventStore, passwords: Passwords, account_id: UUID, changes: AccountChanges
) -> ChangeResult:
    """Append all changes, or none. Raises `FormInvalid`, `NotRegistered` or `WrongPassword`."""
    check_changes(changes)
    require_account(await store.find(Account, account_id))
    password_hash = await passwords.hash(changes.password) if changes.password is not None else None

    def change(found: Account | None) -> Account:
        account = require_account(found)
        if changes.verified_credential not in (None, account.credential):
            raise WrongPassword
        if password_hash is not None:
            account.change_password(password_hash)
        if changes.avatar_url is not None:
            account.change_avatar(changes.avatar_url)
        if changes.email is not None:
            account.change_email(changes.email)
        return account

    for _ in range(TRIES_MAX):
        with suppress(EmailChangedConcurrently):
            return await _update(store, account_id, changes.email, change)
    raise DatabaseBusy


def check_changes(changes: AccountChanges) -> None:
    """Raises a `FormInvalid` for a value that no account can have."""
    if changes.email is not None:
        check_email(changes.email)
    if changes.password is not None:
        check_password(changes.password)
    if changes.avatar_url is not None:
        check_avatar(changes.avatar_url)


async def _update(
    store: EventStore, account_id: UUID, email: str | None, change: Callable[[Account | None], Account]
) -> ChangeResult:
    """A new address is claimed, and the old one released, in the same append.

    The account must still have the address that it had before.
    """
    old = require_account(await store.find(Account, account_id)).email or ""
    claims: list[UUID] = []
    if email is not None and fold_email(email) != fold_email(old):
        claims = [store.stream_ids.email_claim(address) for address in (email, old)]

    def decide(account: Account | None, *found: EmailClaim | None) -> Iterable[AggregateRoot]:
        if email is not None and require_account(account).email != old:
            raise EmailChangedConcurrently
        changed: list[AggregateRoot] = [change(account)]
        if claims:
            claim, released = found
            changed.append(_claim_email(claim, claims[0], account_id))
            if released:
                released.release()
                changed.append(released)
        return changed

    return await store.change(
        decide, Stream(Account, account_id), *(Stream(EmailClaim, claim) for claim in claims)
    )
