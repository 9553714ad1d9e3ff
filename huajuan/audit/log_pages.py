"""Pages of the log as the chain's links, put together by Postgres in one value each."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import psycopg

from huajuan.audit.links import Page

PAGE_EVENTS = 2_000
BEFORE_ALL = -(2**63)
# A link of another length than it must have is given as one that fits nothing.
_PAGE = """
SELECT string_agg(int8send(position) || int4send(octet_length(content)), ''), string_agg(content || chain, '')
  FROM (SELECT notification_id AS position,
               uuid_send(originator_id) || int8send(originator_version) || int4send(octet_length(topic))
               || convert_to(topic, 'UTF8') || state AS content,
               CASE octet_length(chain) WHEN 32 THEN chain ELSE decode(repeat('00', 32), 'hex') END AS chain
          FROM log.huajuan_events WHERE notification_id > %b AND notification_id <= %b
         ORDER BY notification_id LIMIT %b) AS page
"""


@contextmanager
def log_pages(
    connection: psycopg.Connection, last: int, page_events: int = PAGE_EVENTS
) -> Iterator[Iterator[Page]]:
    """All rows up to a position, those too that have a position below the first."""
    with ThreadPoolExecutor(1, "log pages") as reader:
        yield _pages(lambda after: reader.submit(_page, connection, after, last, page_events))


def _pages(ask: Callable[[int], Future[Page | None]]) -> Iterator[Page]:
    """Postgres puts one page together while the one before it is looked at."""
    coming = ask(BEFORE_ALL)
    while page := coming.result():
        coming = ask(page.last)
        yield page


def _page(connection: psycopg.Connection, after: int, last: int, events: int) -> Page | None:
    cursor = connection.execute(_PAGE.encode(), (after, last, events), prepare=True, binary=True)
    numbers, blob = cursor.fetchone() or (None, None)
    return Page(numbers, blob) if numbers else None
