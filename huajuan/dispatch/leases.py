"""Leases: which process has which job in hand, so that a dead one's jobs are found and finished."""

from typing import Any, NamedTuple
from uuid import UUID

from huajuan.event_store.statements import Statements

_OPEN = """
INSERT INTO operations.job_leases (image_id, host, holder, lapses_at)
VALUES (%(image)s, %(host)s, %(holder)s, now() + make_interval(secs => %(seconds)s))
ON CONFLICT (image_id) DO NOTHING
"""
_RENEW = """
UPDATE operations.job_leases SET lapses_at = now() + make_interval(secs => %(seconds)s)
 WHERE image_id = ANY(%(images)s) AND holder = %(holder)s
"""
_CLOSE = "DELETE FROM operations.job_leases WHERE image_id = %(image)s"
_LET_GO = "UPDATE operations.job_leases SET lapses_at = now() WHERE holder = %(holder)s"
_TAKE_LAPSED = """
UPDATE operations.job_leases l
   SET holder = %(holder)s, fencing = fencing + 1, lapses_at = now() + make_interval(secs => %(seconds)s)
  FROM (SELECT image_id FROM operations.job_leases
         WHERE lapses_at <= now() ORDER BY lapses_at LIMIT %(most)s FOR UPDATE SKIP LOCKED) lapsed
 WHERE l.image_id = lapsed.image_id
RETURNING l.image_id, l.host, extract(epoch FROM now() - l.opened_at)::float8
"""


class Lapsed(NamedTuple):
    """A job that nobody had in hand, and how long ago it was opened."""

    image_id: UUID
    host: str
    age_seconds: float


class Leases:
    """`holder` is this process; a lease it does not renew lapses after `lease_seconds`."""

    def __init__(self, statements: Statements, holder: UUID, lease_seconds: float) -> None:
        self._statements = statements
        self._mine = {"holder": holder, "seconds": lease_seconds}

    async def open(self, image_id: UUID, host: str) -> None:
        """Before the job is asked for: a job without a lease would be found by nobody."""
        await self._run(_OPEN, image=image_id, host=host)

    async def renew(self, image_ids: list[UUID]) -> None:
        await self._run(_RENEW, images=image_ids)

    async def close(self, image_id: UUID) -> None:
        """The job has ended, or was never asked for."""
        await self._run(_CLOSE, image=image_id)

    async def let_go(self) -> None:
        """All of this process's leases lapse at once, for others to take."""
        await self._run(_LET_GO)

    async def take_lapsed(self, most: int) -> list[Lapsed]:
        return [Lapsed(*row) for row in await self._run(_TAKE_LAPSED, most=most)]

    async def _run(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        return await self._statements.run(statement, self._mine | values)
