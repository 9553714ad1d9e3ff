"""Deletions that are still to be done: files of deleted pictures, and data of erased accounts.

Both are tables beside the log, which no rebuild touches.
"""

import asyncio
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from huajuan.postgres.statements import Statements

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
