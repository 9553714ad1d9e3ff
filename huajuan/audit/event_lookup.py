"""Where in the log the things of an account are: its pictures, and what it likes, keeps and claims."""

from uuid import UUID

import psycopg

# In the words of the indexes that the log's schema has for them.
ABOUT_ACCOUNT = """left(split_part(encode(state, 'escape'), '"account_id":"', 2), 36)"""
ABOUT_IMAGE = """left(split_part(encode(state, 'escape'), '"image_id":"', 2), 36)"""
LIKES = "topic IN ('like.given', 'like.given_again', 'like.taken_back')"
OF_ACCOUNTS = """topic IN ('like.given', 'like.given_again', 'like.taken_back',
                    'favorite.added', 'favorite.added_again', 'favorite.removed',
                    'email_claim.claimed', 'email_claim.claimed_again')"""
_JSON = "convert_from(state, 'UTF8')::json"
_IMAGES = f"""
SELECT ({_JSON}->>'image_id')::uuid FROM log.huajuan_events
 WHERE originator_id = %b AND topic = 'account.points_held' AND notification_id <= %b
"""  # noqa: S608  our own words
_AT = """
SELECT originator_id, notification_id FROM log.huajuan_events
 WHERE originator_id = ANY(%b) AND topic = %b AND notification_id <= %b
"""


def images_of(connection: psycopg.Connection, account: UUID, last: int) -> list[UUID]:
    """Every picture that the account ever asked for, for points are held for each."""
    rows = connection.execute(_IMAGES.encode(), (account, last), prepare=True, binary=True)
    return [row[0] for row in rows.fetchall()]


def drawn_at(connection: psycopg.Connection, images: list[UUID], last: int) -> dict[UUID, int]:
    """The positions at which these pictures were drawn, which are their ids on the wire; only those that were."""
    return _at(connection, images, "image.drawn", last)


def requested_at(connection: psycopg.Connection, images: list[UUID], last: int) -> dict[UUID, int]:
    """The positions at which these pictures were requested, which are the ids of their jobs."""
    return _at(connection, images, "image.requested", last)


def _at(connection: psycopg.Connection, images: list[UUID], topic: str, last: int) -> dict[UUID, int]:
    rows = connection.execute(_AT, (images, topic, last), prepare=True, binary=True)
    return dict(rows.fetchall())
