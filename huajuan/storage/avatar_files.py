"""Uploaded avatar files and their owners; a file is removed when it is replaced or its owner is erased."""

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
_RECORD = f"""
INSERT INTO operations.uploaded_avatars (avatar_id, account_id, check_at)
VALUES (%(avatar)s, %(account)s, clock_timestamp() + make_interval(secs => {UNREFERENCED_SECONDS_MAX}))
ON CONFLICT (avatar_id) DO UPDATE SET check_at = EXCLUDED.check_at
"""  # noqa: S608  a constant of this module
_OF_ACCOUNT = (
    "SELECT avatar_id FROM operations.uploaded_avatars WHERE account_id = %(account)s LIMIT %(limit)s"
)
_DELETE = "DELETE FROM operations.uploaded_avatars WHERE avatar_id = %(avatar)s"
_CHECK_NOW = (
    "UPDATE operations.uploaded_avatars SET check_at = clock_timestamp() WHERE avatar_id = %(avatar)s"
)
_DUE = """
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


class DueAvatar(NamedTuple):
    """A file that may have been replaced. A later change of `check_at` makes this check outdated."""

    avatar_id: UUID
    account_id: UUID
    check_at: datetime


class AvatarFiles:
    """A file is recorded before it is written, and its record is deleted after it. `wake` sets `wakeup`."""

    def __init__(self, statements: Statements, files: Pictures) -> None:
        self.files = files
        self.wakeup = asyncio.Event()
        self._statements = statements

    async def put(self, avatar_id: UUID, account_id: UUID, avatar: bytes) -> str:
        """Returns the key. Raises `StorageUnavailable`."""
        await self._statements.run(_RECORD, {"avatar": avatar_id, "account": account_id})
        return await self.files.put(avatar_id, avatar)

    async def mark_referenced(self, avatar_id: UUID) -> None:
        """An event refers to the file now, so it can be checked at any time.

        If the database is unavailable, the check that was recorded with the file still happens.
        """
        with suppress(DatabaseFailure):
            await self._statements.run(_CHECK_NOW, {"avatar": avatar_id})
        self.wake()

    def wake(self) -> None:
        """Call it after an avatar was replaced in this process."""
        self.wakeup.set()

    async def due(self, limit: int) -> list[DueAvatar]:
        return [DueAvatar(*row) for row in await self._statements.run(_DUE, {"limit": limit})]

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
        await self._statements.run(_DELETE, {"avatar": avatar_id})

    async def remove_avatars_of(self, account_id: UUID, limit: int) -> int:
        """Removes up to `limit` files of the account; returns their number. Raises `StorageUnavailable`."""
        found = await self._statements.run(_OF_ACCOUNT, {"account": account_id, "limit": limit})
        for (avatar_id,) in found:
            await self.remove(avatar_id)
        return len(found)
