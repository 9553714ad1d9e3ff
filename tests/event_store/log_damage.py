"""Damages a log: removes its newest events, like a failover to a late standby, or makes gaps."""

from uuid import UUID

import psycopg

_RENUMBER = """
UPDATE log.huajuan_events e SET notification_id = n.due
  FROM (SELECT originator_id, originator_version, row_number() OVER (ORDER BY notification_id DESC) AS due
          FROM log.huajuan_events) n
 WHERE (e.originator_id, e.originator_version) = (n.originator_id, n.originator_version)
"""
_LINK = """
WITH RECURSIVE linked AS (
    SELECT 0::bigint AS position, ''::bytea AS chain
     UNION ALL
    SELECT e.notification_id, log.link(l.chain, e.originator_id, e.originator_version, e.topic, e.state)
      FROM linked l JOIN log.huajuan_events e ON e.notification_id = l.position + 1)
UPDATE log.huajuan_events e SET chain = l.chain FROM linked l WHERE l.position = e.notification_id
"""


def cut(dsn: str, after: int) -> None:
    """Deletes the events behind a position."""
    change(dsn, "DELETE FROM log.huajuan_events WHERE notification_id > %s", after)


def tear(dsn: str, stream: UUID, versions: tuple[int, ...]) -> None:
    """Makes a gap in a stream, while positions and hash chain stay valid."""
    gone = "DELETE FROM log.huajuan_events WHERE originator_id = %s AND originator_version = ANY(%s)"
    change(dsn, gone, stream, list(versions))
    change(dsn, "UPDATE log.huajuan_events SET notification_id = -notification_id")
    change(dsn, _RENUMBER)
    change(dsn, _LINK)
    change(
        dsn,
        "UPDATE operations.checkpoints SET position = (SELECT max(notification_id) FROM log.huajuan_events)",
    )


def change(dsn: str, statement: str, *values: object) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE log.huajuan_events DISABLE TRIGGER ALL")
        connection.execute(statement.encode(), values)
        connection.execute("ALTER TABLE log.huajuan_events ENABLE TRIGGER ALL")
