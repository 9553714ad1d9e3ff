"""What is counted for those who watch the service from outside."""

import msgspec

from huajuan.projections.daily_statistics import INTEGER_MAX
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.queries.read_tables import ReadTables


class Counts(msgspec.Struct, frozen=True):
    """The log's last position, and how many pictures are being drawn."""

    log_position: int
    jobs_open: int


class Unaccounted(msgspec.Struct, frozen=True):
    """Points that were granted and are nowhere, or are somewhere and were not granted: there must be none."""

    points: int


_COUNTS = """
SELECT coalesce((SELECT max(notification_id) FROM log.huajuan_events), 0),
       (SELECT count(*) FROM operations.job_leases)
"""
# Of each account apart, else what one lacks would make up for what another has too much.
_UNACCOUNTED = f"""
SELECT least(coalesce(sum(abs(
           b.granted::numeric - b.available - b.held - b.spent - b.deducted - b.forfeited)), 0), {INTEGER_MAX})::int8
  FROM {POINT_BALANCES.schema}.point_balances b
"""


async def counts(tables: ReadTables) -> Counts:
    return (await tables.all(Counts, _COUNTS))[0]


async def unaccounted_points(tables: ReadTables) -> int:
    """Reads every balance: not to be asked at each turn."""
    return (await tables.all(Unaccounted, _UNACCOUNTED))[0].points
