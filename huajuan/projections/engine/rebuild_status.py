"""Which read tables are being rebuilt, and how each one's last rebuild went."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from huajuan.projections.engine.projection import Projection
from huajuan.projections.queries.read_tables import ReadTables

# True where a rebuild of checkpoint row `c`'s table holds its lock. Looked up and not tried, for a rebuild that
# just begins would find it taken.
IS_REBUILDING = """
EXISTS (SELECT FROM pg_locks l, (SELECT hashtext('huajuan rebuild ' || c.projection)::int8 AS key) wanted
         WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND l.classid::int8 = (wanted.key >> 32) & 4294967295 AND l.objid::int8 = wanted.key & 4294967295)"""


# How a rebuild ends. A failed one says why, and one that was `SWAPPED` how its comparison ended.
OUTCOMES = DONE, CANCELLED, DIED, SWAPPED = ("done", "cancelled", "died", "swapped, not compared")


class Rebuild(msgspec.Struct, frozen=True, kw_only=True):
    """From `started_at` to `ended_at`; it has read the log up to `position` of `head`.

    `differences` is what the new table had that the old one had not, as the rebuild put it.
    """

    started_at: datetime
    moved_at: datetime | None = None
    ended_at: datetime | None = None
    position: int | None = None
    head: int | None = None
    events_per_second: float | None = None
    outcome: str | None = None
    differences: Any = None


class _Begun(msgspec.Struct):
    is_begun: bool


class _Found(msgspec.Struct):
    schema: str
    rebuild: str


_LAST = """
SELECT wanted.schema, last.rebuild::text FROM unnest(%(schemas)s::text[]) AS wanted(schema)
 CROSS JOIN LATERAL (
       SELECT to_jsonb(r) AS rebuild FROM operations.rebuilds r
        WHERE wanted.schema = ANY(r.projections) ORDER BY r.started_at DESC LIMIT 1) last
"""
_BEGUN = "SELECT EXISTS (SELECT FROM operations.rebuilds WHERE asked = %(asked)s)"
_decode = msgspec.json.Decoder(Rebuild, strict=False).decode


async def last_rebuilds(tables: ReadTables, projections: Iterable[Projection]) -> dict[str, Rebuild]:
    """By the projection's name with its version; none for one that was never rebuilt."""
    values = {"schemas": [projection.schema for projection in projections]}
    return {found.schema: _decode(found.rebuild) for found in await tables.all(_Found, _LAST, values)}


async def was_begun(tables: ReadTables, asked: int) -> bool:
    """Whether the rebuild that is asked for at this position of the log was ever begun."""
    found = await tables.one(_Begun, _BEGUN, {"asked": asked})
    return found is not None and found.is_begun
