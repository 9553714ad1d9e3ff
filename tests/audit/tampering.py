"""Kinds of tampering with the log's rows, each with the diagnosis that `verify` must give."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

Do = Callable[[psycopg.Connection, int], None]


@dataclass(frozen=True)
class Tampering:
    """`do` changes a row; the first bad position is `bad_at` later. `room` rows must follow the row."""

    do: Do
    kind: str
    bad_at: int = 0
    room: int = 1


@contextmanager
def tampering(dsn: str) -> Iterator[psycopg.Connection]:
    """A superuser's connection without triggers and constraints; it is rolled back at the end."""
    with psycopg.connect(dsn) as connection:
        connection.execute("ALTER TABLE log.huajuan_events DISABLE TRIGGER ALL")
        connection.execute("ALTER TABLE log.huajuan_events DROP CONSTRAINT huajuan_events_pkey")
        connection.execute("DROP INDEX log.huajuan_events_notification_id_idx")
        connection.execute(
            "ALTER TABLE log.huajuan_events ALTER state DROP NOT NULL, ALTER chain DROP NOT NULL"
        )
        yield connection
        connection.rollback()


def run(*statements: str) -> Do:
    """The statements, with the position as `p`."""

    def do(connection: psycopg.Connection, position: int) -> None:
        for statement in statements:
            connection.execute(statement.encode(), {"p": position})

    return do


def at(position: str, change: str) -> str:
    return f"UPDATE log.huajuan_events SET {change} WHERE notification_id = {position}"


def moved(which: str, by: str) -> tuple[str, str]:
    """Shifts positions by way of negative ones, because they are unique."""
    where = f"notification_id {which}"
    return (
        f"UPDATE log.huajuan_events SET notification_id = -notification_id WHERE {where}",
        f"UPDATE log.huajuan_events SET notification_id = -notification_id + {by} WHERE notification_id < 0",
    )


def exchanged(columns: str, distance: int) -> str:
    return (
        f"UPDATE log.huajuan_events e SET ({columns}) = (SELECT {columns} FROM log.huajuan_events o "
        f" WHERE o.notification_id = %(p)s + CASE e.notification_id WHEN %(p)s THEN {distance} ELSE 0 END) "
        f"WHERE e.notification_id IN (%(p)s, %(p)s + {distance})"
    )


INSERT = (
    "INSERT INTO log.huajuan_events "
    "(originator_id, originator_version, topic, state, notification_id, chain) "
)


def inserted(position: str, chain: str) -> tuple[str, ...]:
    """Inserts a row of another stream at this position; later rows are shifted."""
    return (
        *moved(f">= {position}", "1"),
        f"{INSERT}SELECT gen_random_uuid(), 1, topic, state, {position}, {chain} "
        "FROM log.huajuan_events ORDER BY notification_id DESC LIMIT 1",
    )


def copied(position: str) -> tuple[str, ...]:
    return (
        *moved(f"> {position}", "1"),
        f"{INSERT}SELECT originator_id, originator_version, topic, state, {position} + 1, chain "
        f"FROM log.huajuan_events WHERE notification_id = {position}",
    )


P = "%(p)s"
ROW = "originator_id, originator_version, topic, state"
DROP = f"DELETE FROM log.huajuan_events WHERE notification_id = {P}"
FLIPPED = "set_byte({0}, 20, get_byte({0}, 20) # 1)"
RELINKED = """
WITH RECURSIVE linked AS (
    SELECT 0::bigint AS position, ''::bytea AS chain
    UNION ALL
    SELECT e.notification_id, log.link(l.chain, e.originator_id, e.originator_version, e.topic, e.state)
      FROM linked l JOIN log.huajuan_events e ON e.notification_id = l.position + 1)
UPDATE log.huajuan_events e SET chain = l.chain FROM linked l WHERE l.position = e.notification_id
"""
TAMPERINGS = {
    "state: one bit": Tampering(run(at(P, f"state = {FLIPPED.format('state')}")), "changed", room=0),
    "state: longer": Tampering(run(at(P, "state = state || ' '")), "changed", room=0),
    "topic": Tampering(run(at(P, "topic = topic || 'x'")), "changed", room=0),
    "border of topic and state": Tampering(
        run(at(P, "topic = topic || '{', state = substr(state, 2)")), "changed", room=0
    ),
    "stream": Tampering(run(at(P, "originator_id = gen_random_uuid()")), "changed", room=0),
    "version": Tampering(run(at(P, "originator_version = originator_version + 1")), "changed", room=0),
    "link: one bit": Tampering(run(at(P, f"chain = {FLIPPED.format('chain')}")), "changed", room=0),
    "link: emptied": Tampering(run(at(P, "chain = ''")), "changed", room=0),
    "state: none": Tampering(run(at(P, "state = NULL")), "changed", room=0),
    "link: none": Tampering(run(at(P, "chain = NULL")), "changed", room=0),
    "link: that of the row before": Tampering(
        run(
            "UPDATE log.huajuan_events e SET chain = (SELECT chain FROM log.huajuan_events o "
            f"WHERE o.notification_id = {P} - 1) WHERE notification_id = {P}"
        ),
        "changed",
        room=0,
    ),
    "link: longer": Tampering(run(at(P, "chain = chain || 'x'")), "changed", room=0),
    "row dropped": Tampering(run(DROP), "missing"),
    "three rows dropped": Tampering(
        run(DROP.replace(f"= {P}", f"BETWEEN {P} AND {P} + 2")), "missing", room=3
    ),
    "row dropped, gap closed": Tampering(run(DROP, *moved(f"> {P}", "-1")), "changed", room=2),
    "gap without a loss": Tampering(run(*moved(f">= {P}", "1")), "renumbered", room=0),
    "neighbours swapped": Tampering(
        run(
            at(f"{P}", "notification_id = -1"),
            at(f"{P} + 1", f"notification_id = {P}"),
            at("-1", f"notification_id = {P} + 1"),
        ),
        "swapped",
    ),
    "neighbours' contents swapped": Tampering(run(exchanged(ROW, 1)), "swapped"),
    "distant rows swapped": Tampering(
        run(
            at(f"{P}", "notification_id = -1"),
            at(f"{P} + 9", f"notification_id = {P}"),
            at("-1", f"notification_id = {P} + 9"),
        ),
        "swapped",
        room=9,
    ),
    "distant contents swapped": Tampering(run(exchanged(ROW, 9)), "swapped", room=9),
    "row moved further on": Tampering(
        run(
            at(f"{P}", "notification_id = -999"),
            at(f"{P} + 1", f"notification_id = {P}"),
            at(f"{P} + 2", f"notification_id = {P} + 1"),
            at("-999", f"notification_id = {P} + 2"),
        ),
        "moved",
        room=3,
    ),
    "row duplicated": Tampering(run(*copied(P)), "duplicated", bad_at=1, room=0),
    "row duplicated at its own position": Tampering(
        run(
            f"{INSERT}SELECT originator_id, originator_version, topic, state, notification_id, chain "
            f"FROM log.huajuan_events WHERE notification_id = {P}"
        ),
        "duplicated",
        bad_at=1,
        room=0,
    ),
    "a gap of millions": Tampering(run(*moved(f">= {P}", "1000000000000")), "renumbered", room=0),
    "row inserted": Tampering(run(*inserted(P, "sha256('x')")), "inserted", room=1),
    "row inserted with a fitting link": Tampering(
        run(
            *inserted(P, "''"),
            "UPDATE log.huajuan_events e SET chain = log.link(coalesce((SELECT o.chain "
            f"FROM log.huajuan_events o WHERE o.notification_id = {P} - 1), ''), "
            "originator_id, originator_version, topic, state) "
            f"WHERE notification_id = {P}",
        ),
        "changed",
        bad_at=1,
    ),
}
BEFORE_THE_FIRST = run(
    f"{INSERT}SELECT gen_random_uuid(), 1, topic, state, {P}, chain "
    "FROM log.huajuan_events WHERE notification_id = 1"
)
REWRITTEN = run(at(P, "state = state || ' '"), RELINKED)
CUT_OFF = run(f"DELETE FROM log.huajuan_events WHERE notification_id > {P}")
