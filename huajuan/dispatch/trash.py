"""The trash: which deleted pictures' files are to go, and when."""

from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg_pool import AsyncConnectionPool

from huajuan.event_store.outages import through_outages

_PUT = """
INSERT INTO operations.deleted_pictures (image_id, sweep_at) SELECT image, %(at)s FROM unnest(%(images)s::uuid[]) image
ON CONFLICT (image_id) DO UPDATE SET sweep_at = EXCLUDED.sweep_at
"""
_DUE = "SELECT image_id FROM operations.deleted_pictures WHERE sweep_at <= %(at)s ORDER BY sweep_at LIMIT %(most)s"
_TAKE_OUT = "DELETE FROM operations.deleted_pictures WHERE image_id = %(image)s AND sweep_at <= %(at)s"


class Trash:
    """Every statement may run twice, so an outage is waited for, up to `outage_seconds_max`."""

    def __init__(self, pool: AsyncConnectionPool, outage_seconds_max: float) -> None:
        self._pool = pool
        self._outage_seconds_max = outage_seconds_max

    async def put(self, image_ids: list[UUID], sweep_at: datetime) -> None:
        """Before the deletion is stated: a picture that is not in the trash would be swept by nobody."""
        await self._execute(_PUT, images=image_ids, at=sweep_at)

    async def due(self, at: datetime, most: int) -> list[UUID]:
        return [image_id for (image_id,) in await self._execute(_DUE, at=at, most=most)]

    async def take_out(self, image_id: UUID, at: datetime) -> None:
        """Unless it was deleted again meanwhile."""
        await self._execute(_TAKE_OUT, image=image_id, at=at)

    async def _execute(self, statement: str, **values: Any) -> list[Any]:
        return await through_outages(lambda: self._run(statement, values), self._outage_seconds_max)

    async def _run(self, statement: str, values: dict[str, Any]) -> list[Any]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(statement.encode(), values)
            return await cursor.fetchall() if cursor.description else []
