"""Pages of the log as the chain's links, put together by Postgres in one value each."""

from collections.abc import Iterator

import psycopg

from huajuan.audit.connection import one
from huajuan.audit.hash_chain import Page
from huajuan.audit.ranges import ranges

PAGE_EVENTS = 2_000
LOWEST = -(2**63)
# A link of another length than it must have is given as one that fits nothing, and so is what is not there.
_PAGE = """
SELECT string_agg(int8send(position) || int4send(octet_length(content)), ''), string_agg(content || chain, '')
  FROM (SELECT notification_id AS position,
               coalesce(uuid_send(originator_id) || int8send(originator_version) || int4send(octet_length(topic))
                        || convert_to(topic, 'UTF8') || state, '') AS content,
               CASE octet_length(chain) WHEN 32 THEN chain ELSE decode(repeat('00', 32), 'hex') END AS chain
          FROM log.huajuan_events WHERE notification_id >= %b AND notification_id <= %b
         ORDER BY notification_id LIMIT %b) AS page
"""


def log_pages(connection: psycopg.Connection, last: int, page_events: int = PAGE_EVENTS) -> Iterator[Page]:
    """All rows up to a position, those too that have a position below the first.

    A row more than a range has positions is enough to show that one was given twice.
    """
    for first, upto in ranges(connection, LOWEST, last, page_events):
        numbers, blob = one(connection, _PAGE, first, upto, page_events + 1)
        yield Page(numbers, blob)
