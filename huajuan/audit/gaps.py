"""Finds gaps in streams: an event is stored, and the one before it in its stream is not."""

from collections.abc import Callable
from uuid import UUID

import psycopg

from huajuan.audit.tamper_diagnosis import Damage

PAGE_EVENTS = 20_000
FIRST_PAGE = (UUID(int=0), 0)
# In the order of the primary key, so that nothing is kept in memory or sorted.
PAGE = """
WITH page AS MATERIALIZED (
    SELECT originator_id AS stream, originator_version AS version FROM log.huajuan_events
     WHERE (originator_id, originator_version) > (%(stream)s::uuid, %(version)s::bigint)
     ORDER BY originator_id, originator_version LIMIT %(most)s),
followed AS (
    SELECT stream, version, coalesce(lag(version) OVER (PARTITION BY stream ORDER BY version),
           CASE WHEN stream = %(stream)s THEN %(version)s::bigint ELSE least(version, 1) - 1 END) AS before
      FROM page),
gap AS (
    SELECT e.notification_id AS position, f.stream::text AS broken, f.version AS found, f.before
      FROM followed f JOIN log.huajuan_events e ON e.originator_id = f.stream AND e.originator_version = f.version
     WHERE f.version > f.before + 1 ORDER BY 1 LIMIT 1)
SELECT last.stream, last.version, gap.position, gap.broken, gap.found, gap.before
  FROM (SELECT stream, version FROM page ORDER BY 1 DESC, 2 DESC LIMIT 1) last LEFT JOIN gap ON true
"""
# Of the next events behind a position: the last, and the first of those that follow nothing.
NEW = """
SELECT max(position), min(position) FILTER (WHERE is_gap)
  FROM (SELECT e.notification_id AS position,
               e.originator_version > 1 AND (
                   SELECT true FROM log.huajuan_events b WHERE b.originator_id = e.originator_id
                      AND b.originator_version = e.originator_version - 1) IS NULL AS is_gap
          FROM log.huajuan_events e WHERE e.notification_id > %(after)s
         ORDER BY e.notification_id LIMIT %(most)s) page
"""


def first_gap(
    connection: psycopg.Connection, told: Callable[[], None] = lambda: None, page_events: int = PAGE_EVENTS
) -> Damage | None:
    """The gap with the lowest position behind it, of all streams; `told` is called after every page."""
    lowest: Damage | None = None
    stream, version = FIRST_PAGE
    while True:
        values = {"stream": stream, "version": version, "most": page_events}
        row = connection.execute(PAGE.encode(), values, prepare=True, binary=True).fetchone()
        if row is None:
            return lowest
        stream, version, position, *gap = row
        if position is not None and (lowest is None or position < lowest.position):
            lowest = _damage(position, *gap)
        told()


def _damage(position: int, stream: str, found: int, before: int) -> Damage:
    return Damage(
        position,
        "gap",
        f"stream {stream} goes on with version {found} after {before}: events between are missing",
    )
