"""How far each projection has come, how far that is behind the log, and whether it stopped."""

from collections.abc import Iterable

import msgspec

from huajuan.projections.projection import Projection
from huajuan.projections.questions import ReadTables


class Standing(msgspec.Struct, frozen=True):
    """`lag_seconds` is for how long the projection has not moved while events were waiting."""

    projection: str
    position: int
    lag_events: int
    lag_seconds: float
    stopped_at: int | None
    stopped_by: str | None


_STANDINGS = """
SELECT c.projection, c.position, head.position - c.position,
       CASE WHEN head.position > c.position
            THEN extract(epoch FROM now() - c.moved_at)::float8 ELSE 0 END,
       c.stopped_at, c.stopped_by
  FROM operations.checkpoints c,
       (SELECT coalesce(max(notification_id), 0) AS position FROM log.huajuan_events) head
 WHERE c.projection = ANY(%(schemas)s) ORDER BY c.projection
"""


async def standings(tables: ReadTables, projections: Iterable[Projection]) -> list[Standing]:
    return await tables.all(Standing, _STANDINGS, {"schemas": [p.schema for p in projections]})
