"""Finds accounts by the position of their registration, which is their id on the wire."""

from huajuan.domain.account import Account
from huajuan.event_store.store import EventStore


async def account_registered_at(store: EventStore, position: int) -> Account | None:
    """The account as it stands, an erased one too."""
    stream = await store.earlier.stream_at(position, Account.Registered.TOPIC)
    return await store.find(Account, stream) if stream else None
