"""An account as it stood at a position of the log, and the pictures that it had then."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from huajuan.audit.connection import one, stream_ids
from huajuan.audit.event_lookup import ABOUT_ACCOUNT, ABOUT_IMAGE, LIKES, OF_ACCOUNTS, images_of
from huajuan.audit.events import COLUMNS, Reader
from huajuan.audit.limits import within
from huajuan.domain.account import Account
from huajuan.domain.admin import Admin
from huajuan.domain.image import Image

_TIME = "(convert_from(state, 'UTF8')::json->>'timestamp')::timestamptz"
_KEPT = f"""
SELECT count(*) FILTER (WHERE topic IN ('like.given', 'like.given_again'))
     - count(*) FILTER (WHERE topic = 'like.taken_back'),
       count(*) FILTER (WHERE topic IN ('favorite.added', 'favorite.added_again'))
     - count(*) FILTER (WHERE topic = 'favorite.removed')
  FROM log.huajuan_events WHERE {ABOUT_ACCOUNT} = %b::text AND {OF_ACCOUNTS} AND notification_id <= %b
"""  # noqa: S608  our own words
# What a picture's last event is says whether it is to be seen.
_SHOWN = f"""
SELECT originator_id, min(notification_id) FILTER (WHERE topic = 'image.drawn') AS id,
       min({_TIME}) FILTER (WHERE topic = 'image.drawn') AS time
  FROM log.huajuan_events
 WHERE originator_id = ANY(%b) AND notification_id <= %b
   AND topic IN ('image.drawn', 'image.deleted', 'image.restored', 'image.erased')
 GROUP BY originator_id
HAVING (array_agg(topic ORDER BY originator_version DESC))[1] IN ('image.drawn', 'image.restored')
"""  # noqa: S608  our own words
_SHOWN_AFTER = f"""
SELECT originator_id, id, time FROM ({_SHOWN}) shown
 WHERE (time, id) > (%b, %b) ORDER BY time, id LIMIT %b
"""  # noqa: S608  our own words
_SHOWN_COUNT = f"SELECT count(*) FROM ({_SHOWN}) shown"  # noqa: S608  our own words
_LIKES = f"""
SELECT {ABOUT_IMAGE}, sum(CASE topic WHEN 'like.taken_back' THEN -1 ELSE 1 END)::int8 FROM log.huajuan_events
 WHERE {ABOUT_IMAGE} = ANY(%b::text[]) AND {LIKES} AND notification_id <= %b GROUP BY 1
"""  # noqa: S608  our own words
_REQUESTS = f"""
SELECT {COLUMNS} FROM log.huajuan_events WHERE originator_id = ANY(%b) AND topic IN ('image.requested', 'image.drawn')
"""  # noqa: S608  our own words
Place = tuple[datetime, int]


class Profile(NamedTuple):
    """`id` is the position of the registration; `likes` and `favorites` are those that the account gave."""

    account_id: UUID
    id: int
    account: Account
    registered_at: datetime
    images: int
    likes: int
    favorites: int
    is_admin: bool


class Shown(NamedTuple):
    """A picture that was to be seen: how it was asked for and drawn, its id on the wire, and how many liked it.

    `generation_id` is the id of its job.
    """

    id: int
    time: datetime
    requested: Image.Requested
    drawn: Image.Drawn
    likecount: int
    generation_id: int


def account_at(reader: Reader, account: UUID, last: int, seconds_max: float) -> tuple[int, Account] | None:
    """The account and the position at which it was registered; `None` before that. Raises `AuditTooLong`."""
    found: Any = None
    registered = 0
    for position, event in within(seconds_max, reader.stream(account, last)):
        registered = registered or position
        found = event.mutate(found)
    return (registered, found) if found else None


def profile_at(
    connection: psycopg.Connection, account: UUID, last: int, seconds_max: float
) -> Profile | None:
    """`None` before the registration."""
    reader = Reader(connection)
    found = account_at(reader, account, last, seconds_max)
    if found is None:
        return None
    registered, then = found
    likes, favorites = one(connection, _KEPT, str(account), last)
    is_admin = _is_admin_at(reader, stream_ids(connection).admin(account), last)
    images = 0 if then.is_erased else _images_shown(connection, account, last)
    return Profile(account, registered, then, then.created_on, images, likes, favorites, is_admin)


def gallery_at(
    connection: psycopg.Connection, account: UUID, last: int, after: Place, most: int, seconds_max: float
) -> tuple[str | None, list[Shown]] | None:
    """Whose pictures they are, and at most `most` of them, oldest first after a time and id; `None` for nobody."""
    reader = Reader(connection)
    found = account_at(reader, account, last, seconds_max)
    if found is None:
        return None
    then = found[1]
    return then.username, [] if then.is_erased else _shown(reader, account, last, after, most)


def _is_admin_at(reader: Reader, role: UUID, last: int) -> bool:
    admin: Any = None
    for recorded in reader.stream(role, last):
        admin = recorded.event.mutate(admin)
    return isinstance(admin, Admin) and admin.stands


def _images_shown(connection: psycopg.Connection, account: UUID, last: int) -> int:
    return int(one(connection, _SHOWN_COUNT, images_of(connection, account, last), last)[0])


def _shown(reader: Reader, account: UUID, last: int, after: Place, most: int) -> list[Shown]:
    connection = reader.connection
    values = (images_of(connection, account, last), last, *after, most)
    rows = connection.execute(_SHOWN_AFTER.encode(), values, prepare=True, binary=True).fetchall()
    images = [row[0] for row in rows]
    told: dict[UUID, dict[type, Any]] = {image: {} for image in images}
    jobs: dict[UUID, int] = {}
    for position, event in reader.select(_REQUESTS, (images,)):
        told[event.originator_id][type(event)] = event
        if isinstance(event, Image.Requested):
            jobs[event.originator_id] = position
    likes = _likes(connection, images, last)
    return [
        Shown(
            drawn,
            time,
            told[image][Image.Requested],
            told[image][Image.Drawn],
            likes.get(str(image), 0),
            jobs[image],
        )
        for image, drawn, time in rows
    ]


def _likes(connection: psycopg.Connection, images: list[UUID], last: int) -> dict[str, int]:
    values = ([str(image) for image in images], last)
    return dict(connection.execute(_LIKES.encode(), values, prepare=True, binary=True).fetchall())
