"""Uploaded avatars: whose each file is, so that it goes when it is replaced, or with the person."""

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from huajuan.event_store.errors import LogError
from huajuan.postgres.statements import Statements
from huajuan.storage.pictures import Pictures, key_of

# A file that no event names is of a request that is still running, or that ended in the middle.
UNSTATED_SECONDS_MAX = 3600
_NOTE = f"""
INSERT INTO operations.uploaded_avatars (avatar_id, account_id, look_at)
VALUES (%(avatar)s, %(account)s, clock_timestamp() + make_interval(secs => {UNSTATED_SECONDS_MAX}))
ON CONFLICT (avatar_id) DO UPDATE SET look_at = EXCLUDED.look_at
"""  # noqa: S608  a number of our own
_OF = "SELECT avatar_id FROM operations.uploaded_avatars WHERE account_id = %(account)s LIMIT %(most)s"
_FORGET = "DELETE FROM operations.uploaded_avatars WHERE avatar_id = %(avatar)s"
_STATED = "UPDATE operations.uploaded_avatars SET look_at = clock_timestamp() WHERE avatar_id = %(avatar)s"
_DUE = """
SELECT avatar_id, account_id, look_at FROM operations.uploaded_avatars
 WHERE look_at <= clock_timestamp() ORDER BY look_at LIMIT %(most)s
"""
_IN_USE = """
UPDATE operations.uploaded_avatars SET look_at = NULL WHERE avatar_id = %(avatar)s AND look_at = %(seen)s
"""
_LATER = """
UPDATE operations.uploaded_avatars SET look_at = clock_timestamp() + make_interval(secs => %(seconds)s)
 WHERE avatar_id = %(avatar)s AND look_at = %(seen)s
"""


class Due(NamedTuple):
    """A file that may have been replaced; `look_at` tells this look from later ones."""

    avatar_id: UUID
    account_id: UUID
    look_at: datetime


class AvatarFiles:
    """A file is noted before it is written, and forgotten after it is removed."""

    def __init__(self, statements: Statements, files: Pictures) -> None:
        self.files = files
        self._statements = statements
        self._woken = asyncio.Event()

    async def put(self, avatar_id: UUID, account_id: UUID, portrait: bytes) -> str:
        """Its key. Raises `StoreAway`."""
        await self._statements.run(_NOTE, {"avatar": avatar_id, "account": account_id})
        return await self.files.put(avatar_id, portrait)

    async def stated(self, avatar_id: UUID) -> None:
        """An event names it by now, so whether it is in use can be looked up at any time.

        Where the database cannot be told, the look that was noted first finds it.
        """
        with suppress(LogError):
            await self._statements.run(_STATED, {"avatar": avatar_id})
        self.wake()

    def wake(self) -> None:
        """Somebody may have replaced an avatar here."""
        self._woken.set()

    async def wait(self, seconds_max: float) -> None:
        """Until somebody may have replaced one here, or for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds_max):
                await self._woken.wait()
        self._woken.clear()

    async def due(self, most: int) -> list[Due]:
        return [Due(*row) for row in await self._statements.run(_DUE, {"most": most})]

    async def in_use(self, due: Due) -> None:
        """Unless it may have been replaced since, it is not looked at again."""
        await self._statements.run(_IN_USE, {"avatar": due.avatar_id, "seen": due.look_at})

    async def later(self, due: Due, seconds: float) -> None:
        """Not now, for its file cannot be removed."""
        values = {"avatar": due.avatar_id, "seen": due.look_at, "seconds": seconds}
        await self._statements.run(_LATER, values)

    async def remove(self, avatar_id: UUID) -> None:
        """Raises `StoreAway`."""
        await self.files.remove(key_of(avatar_id))
        await self._statements.run(_FORGET, {"avatar": avatar_id})

    async def remove_those_of(self, account_id: UUID, most: int) -> int:
        """How many of them are gone; fewer than `most` when no more are left. Raises `StoreAway`."""
        found = await self._statements.run(_OF, {"account": account_id, "most": most})
        for (avatar_id,) in found:
            await self.remove(avatar_id)
        return len(found)
