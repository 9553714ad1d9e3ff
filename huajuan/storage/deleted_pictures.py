"""The trash: which deleted pictures' files are to go, and when."""

from datetime import datetime
from uuid import UUID

from huajuan.postgres.statements import Statements

_PUT = """
INSERT INTO operations.deleted_pictures (image_id, sweep_at) SELECT image, %(at)s FROM unnest(%(images)s::uuid[]) image
ON CONFLICT (image_id) DO UPDATE SET sweep_at = EXCLUDED.sweep_at
"""
_DUE = "SELECT image_id FROM operations.deleted_pictures WHERE sweep_at <= %(at)s ORDER BY sweep_at LIMIT %(most)s"
_TAKE_OUT = "DELETE FROM operations.deleted_pictures WHERE image_id = %(image)s AND sweep_at <= %(at)s"


class Trash:
    """Kept in the database, beside the log: no rebuild touches it."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def put(self, image_ids: list[UUID], sweep_at: datetime) -> None:
        """Before the deletion is stated: a picture that is not in the trash would be swept by nobody."""
        await self._statements.run(_PUT, {"images": image_ids, "at": sweep_at})

    async def due(self, at: datetime, most: int) -> list[UUID]:
        return [image_id for (image_id,) in await self._statements.run(_DUE, {"at": at, "most": most})]

    async def take_out(self, image_id: UUID, at: datetime) -> None:
        """Unless it was deleted again meanwhile."""
        await self._statements.run(_TAKE_OUT, {"image": image_id, "at": at})
