"""Sweep avatars: the files of uploaded avatars that are not in use any more, or never were, are removed."""

import structlog

from huajuan.domain.account import Account
from huajuan.event_store.errors import LogError
from huajuan.event_store.store import EventStore
from huajuan.storage.avatar_files import AvatarFiles, Due
from huajuan.storage.pictures import StoreAway, key_of

LATER_SECONDS = 60.0
FAILURES_MAX = 3
_logger = structlog.get_logger(__name__)


async def sweep_avatars(store: EventStore, avatars: AvatarFiles, most: int) -> int:
    """At most `most` are looked at; returns how many were."""
    looked_at = failed = 0
    for due in await avatars.due(most):
        try:
            await _sweep(store, avatars, due)
        except StoreAway as error:
            failed += 1
            _logger.warning("avatar left for later", reason=str(error))
            await avatars.later(due, LATER_SECONDS)
            if failed >= FAILURES_MAX:  # the store does not work: all others would fail as well
                break
        looked_at += 1
    return looked_at


async def keep_sweeping_avatars(
    store: EventStore, avatars: AvatarFiles, most: int, every_seconds: float
) -> None:
    """For ever: at once, whenever an avatar may have been replaced here, and on a timer."""
    while True:
        try:
            while await sweep_avatars(store, avatars, most) >= max(1, most):
                pass
        except (LogError, OSError) as error:
            _logger.warning("avatars left for later", error=type(error).__name__)
        await avatars.wait(every_seconds)


async def _sweep(store: EventStore, avatars: AvatarFiles, due: Due) -> None:
    """Older events hold whole addresses, under whatever public address there was; a key is unique in any of them."""
    account = await store.find(Account, due.account_id)
    if account and not account.is_erased and key_of(due.avatar_id) in (account.avatar_url or ""):
        await avatars.in_use(due)
    else:
        await avatars.remove(due.avatar_id)
