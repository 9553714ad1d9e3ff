"""How far each projection has come, how far that is behind the log, and whether it stopped."""

from collections.abc import Iterable

import msgspec

from huajuan.projections.engine.projection import Projection
from huajuan.projections.queries.read_tables import ReadTables

# Over how long the rate of folding is smoothed.
RATE_SECONDS = 10


class Standing(msgspec.Struct, frozen=True):
    """`lag_seconds` is for how long the projection has not moved while events were waiting."""

    projection: str
    position: int
    lag_events: int
    lag_seconds: float
    stopped_at: int | None
    stopped_by: str | None


# Where the moment of the first event that waits is read without decoding it, for perhaps nobody can.
CHECKPOINTS = """
operations.checkpoints c
 CROSS JOIN (SELECT coalesce(max(notification_id), 0) AS position FROM log.huajuan_events) head
  LEFT JOIN LATERAL (
       SELECT substring(encode(e.state, 'escape') FROM '"timestamp":"([^"]+)"')::timestamptz AS at
         FROM log.huajuan_events e WHERE e.notification_id = c.position + 1) waiting ON true
"""
# After a silence a projection has not moved for long, and yet nothing was waiting: the later of the two counts.
LAG = """
head.position - c.position,
       CASE WHEN head.position > c.position
            THEN greatest(extract(epoch FROM now() - greatest(c.moved_at, waiting.at))::float8, 0) ELSE 0 END"""
_STANDINGS = f"""
SELECT c.projection, c.position, {LAG}, c.stopped_at, c.stopped_by
  FROM {CHECKPOINTS} WHERE c.projection = ANY(%(schemas)s) ORDER BY c.projection
"""


async def standings(tables: ReadTables, projections: Iterable[Projection]) -> list[Standing]:
    return await tables.all(Standing, _STANDINGS, {"schemas": [p.schema for p in projections]})
