"""Records of what is to be removed: replaced avatars, files of deleted pictures, data of erased accounts.

They are tables beside the log, which no rebuild touches.
"""

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from huajuan.event_store.errors import DatabaseFailure
from huajuan.postgres.statements import Statements
from huajuan.storage.pictures import Pictures, picture_key

# A file that no event refers to belongs to a request that is running, or that did not complete.
UNREFERENCED_SECONDS_MAX = 3600
_RECORD_AVATAR = f"""
INSERT INTO operations.uploaded_avatars (avatar_id, account_id, check_at)
VALUES (%(avatar)s, %(account)s, clock_timestamp() + make_interval(secs => {UNREFERENCED_SECONDS_MAX}))
ON CONFLICT (avatar_id) DO UPDATE SET check_at = EXCLUDED.check_at
"""  # noqa: S608  a constant of this module
_AVATARS_OF = (
    "SELECT avatar_id FROM operations.uploaded_avatars WHERE account_id = %(account)s LIMIT %(limit)s"
)
_DELETE_AVATAR = "DELETE FROM operations.uploaded_avatars WHERE avatar_id = %(avatar)s"
_CHECK_NOW = (
    "UPDATE operations.uploaded_avatars SET check_at = clock_timestamp() WHERE avatar_id = %(avatar)s"
)
_AVATARS_DUE = """
SELECT avatar_id, account_id, check_at FROM operations.uploaded_avatars
 WHERE check_at <= clock_timestamp() ORDER BY check_at LIMIT %(limit)s
"""
_IN_USE = """
UPDATE operations.uploaded_avatars SET check_at = NULL WHERE avatar_id = %(avatar)s AND check_at = %(seen)s
"""
_POSTPONE = """
UPDATE operations.uploaded_avatars SET check_at = clock_timestamp() + make_interval(secs => %(seconds)s)
 WHERE avatar_id = %(avatar)s AND check_at = %(seen)s
"""
_PUT_PICTURES = """
INSERT INTO operations.deleted_pictures (image_id, sweep_at)
SELECT image, %(at)s FROM unnest(%(images)s::uuid[]) image
ON CONFLICT (image_id) DO UPDATE SET sweep_at = EXCLUDED.sweep_at
"""
_DUE = """
SELECT image_id FROM operations.deleted_pictures WHERE sweep_at <= %(at)s ORDER BY sweep_at LIMIT %(limit)s
"""
_REMOVE_PICTURE = "DELETE FROM operations.deleted_pictures WHERE image_id = %(image)s AND sweep_at <= %(at)s"
_PUT_ERASURE = "INSERT INTO operations.erasures (account_id) VALUES (%(account)s) ON CONFLICT DO NOTHING"
_PENDING = """
SELECT account_id, extract(epoch FROM now() - requested_at)::float8 FROM operations.erasures
 ORDER BY requested_at LIMIT %(limit)s
"""
_REMOVE_ERASURE = "DELETE FROM operations.erasures WHERE account_id = %(account)s"


class DueAvatar(NamedTuple):
    """A file that may have been replaced. A later change of `check_at` makes this check outdated."""

    avatar_id: UUID
    account_id: UUID
    check_at: datetime


class AvatarFiles:
    """Uploaded avatars: recorded before the file is written, until it is removed. `wake` sets `wakeup`."""

    def __init__(self, statements: Statements, files: Pictures) -> None:
        self.files = files
        self.wakeup = asyncio.Event()
        self._statements = statements

    async def put(self, avatar_id: UUID, account_id: UUID, avatar: bytes) -> str:
        """Returns the key. Raises `StorageUnavailable`."""
        await self._statements.run(_RECORD_AVATAR, {"avatar": avatar_id, "account": account_id})
        return await self.files.put(avatar_id, avatar)

    async def mark_referenced(self, avatar_id: UUID) -> None:
        """An event refers to the file now. In an outage the check that was recorded with it still happens."""
        with suppress(DatabaseFailure):
            await self._statements.run(_CHECK_NOW, {"avatar": avatar_id})
        self.wake()

    def wake(self) -> None:
        """Call it after an avatar was replaced in this process."""
        self.wakeup.set()

    async def due(self, limit: int) -> list[DueAvatar]:
        return [DueAvatar(*row) for row in await self._statements.run(_AVATARS_DUE, {"limit": limit})]

    async def mark_in_use(self, due: DueAvatar) -> None:
        """Ends the checks of the file, unless it may have been replaced since."""
        await self._statements.run(_IN_USE, {"avatar": due.avatar_id, "seen": due.check_at})

    async def postpone(self, due: DueAvatar, seconds: float) -> None:
        """Checks the file again after `seconds`."""
        values = {"avatar": due.avatar_id, "seen": due.check_at, "seconds": seconds}
        await self._statements.run(_POSTPONE, values)

    async def remove(self, avatar_id: UUID) -> None:
        """Raises `StorageUnavailable`."""
        await self.files.remove(picture_key(avatar_id))
        await self._statements.run(_DELETE_AVATAR, {"avatar": avatar_id})

    async def remove_avatars_of(self, account_id: UUID, limit: int) -> int:
        """Removes up to `limit` files of the account; returns their number. Raises `StorageUnavailable`."""
        found = await self._statements.run(_AVATARS_OF, {"account": account_id, "limit": limit})
        for (avatar_id,) in found:
            await self.remove(avatar_id)
        return len(found)


class DeletedPictures:
    """Deleted pictures, each with the time at which its file is to be removed."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def put(self, image_ids: list[UUID], sweep_at: datetime) -> None:
        """Call it before the deletion is appended, so that a crash in between loses nothing."""
        await self._statements.run(_PUT_PICTURES, {"images": image_ids, "at": sweep_at})

    async def due(self, at: datetime, limit: int) -> list[UUID]:
        return [image_id for (image_id,) in await self._statements.run(_DUE, {"at": at, "limit": limit})]

    async def remove_if_due(self, image_id: UUID, at: datetime) -> None:
        """Removes the entry, unless the picture was deleted again with a later time."""
        await self._statements.run(_REMOVE_PICTURE, {"image": image_id, "at": at})


class PendingErasure(NamedTuple):
    """An erasure that is not known to be complete."""

    account_id: UUID
    age_seconds: float


class Erasures:
    """Erased accounts with data that may still exist; any server continues them. `wake` sets `wakeup`."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self.wakeup = asyncio.Event()

    def wake(self) -> None:
        """Call it after an erasure in this process."""
        self.wakeup.set()

    async def put(self, account_id: UUID) -> None:
        """Call it before `account.erased` is appended, so that a crash in between loses nothing."""
        await self._statements.run(_PUT_ERASURE, {"account": account_id})

    async def waiting(self, limit: int) -> list[PendingErasure]:
        """The oldest first."""
        return [PendingErasure(*row) for row in await self._statements.run(_PENDING, {"limit": limit})]

    async def done(self, account_id: UUID) -> None:
        await self._statements.run(_REMOVE_ERASURE, {"account": account_id})
