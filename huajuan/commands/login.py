"""Log in: show that one knows an account's password."""

from typing import NamedTuple
from uuid import UUID

from huajuan.auth.passwords import Passwords
from huajuan.domain.account import Account
from huajuan.domain.refusals import AccountBanned, AccountPending, NotRegistered, WrongPassword
from huajuan.event_store.store import EventStore


class LoggedIn(NamedTuple):
    """`credential` counts the account's passwords: a token for an older one is dead."""

    account_id: UUID
    username: str
    credential: int
    avatar_url: str


async def login(store: EventStore, passwords: Passwords, username: str, password: str) -> LoggedIn:
    """Raises `NotRegistered`, `WrongPassword`, `AccountBanned` or `AccountPending`, after the same work."""
    account = await store.find(Account, store.stream_ids.account(username))
    known = (
        LoggedIn(account.id, account.username or "", account.credential, account.avatar_url or "")
        if account
        else None
    )
    password_hash = account.password_hash if account else None
    matches = await passwords.match(password, password_hash)
    if known is None or password_hash is None:
        raise NotRegistered
    if not matches:
        raise WrongPassword
    if account and account.is_banned:
        raise AccountBanned
    if account and account.is_pending:
        raise AccountPending
    return known
