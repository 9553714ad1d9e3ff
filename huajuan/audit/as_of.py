"""The state at a position of the log: an account and its pictures; and the position of a time."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from huajuan.audit.connection import fetch_one, read_log_head, stop_after, stream_ids
from huajuan.audit.event_lookup import (
    ABOUT_ACCOUNT,
    ABOUT_IMAGE,
    COLUMNS,
    LIKES,
    OF_ACCOUNTS,
    EventReader,
    requested_images,
)
from huajuan.domain.account import Account
from huajuan.domain.admin import Admin
from huajuan.domain.image import Image

# The log is in the order of commits, not of times: an event may wait for its commit, and clocks of servers
# differ, but by no more than this.
CLOCK_SKEW_SECONDS_MAX = 300
_CLOCK_SKEW = timedelta(seconds=CLOCK_SKEW_SECONDS_MAX)
_LATEST = datetime.max.replace(tzinfo=UTC) - _CLOCK_SKEW
_TIME = "(convert_from(state, 'UTF8')::json->>'timestamp')::timestamptz"
_NEXT = f"""
SELECT notification_id, {_TIME} FROM log.huajuan_events
 WHERE notification_id >= %b ORDER BY notification_id LIMIT 1
"""  # noqa: S608  constants of this module
_LAST = f"""
SELECT notification_id FROM log.huajuan_events
 WHERE notification_id <= %b AND {_TIME} <= %b ORDER BY notification_id DESC LIMIT 1
"""  # noqa: S608  constants of this module
_COUNTS = f"""
SELECT count(*) FILTER (WHERE topic IN ('like.given', 'like.given_again'))
     - count(*) FILTER (WHERE topic = 'like.taken_back'),
       count(*) FILTER (WHERE topic IN ('favorite.added', 'favorite.added_again'))
     - count(*) FILTER (WHERE topic = 'favorite.removed')
  FROM log.huajuan_events WHERE {ABOUT_ACCOUNT} = %b::text AND {OF_ACCOUNTS} AND notification_id <= %b
"""  # noqa: S608  constants of this module
# The topic of a picture's last event decides whether the picture is visible.
_VISIBLE = f"""
SELECT originator_id, min(notification_id) FILTER (WHERE topic = 'image.drawn') AS id,
       min({_TIME}) FILTER (WHERE topic = 'image.drawn') AS time
  FROM log.huajuan_events
 WHERE originator_id = ANY(%b) AND notification_id <= %b
   AND topic IN ('image.drawn', 'image.deleted', 'image.restored', 'image.erased')
 GROUP BY originator_id
HAVING (array_agg(topic ORDER BY originator_version DESC))[1] IN ('image.drawn', 'image.restored')
"""  # noqa: S608  constants of this module
_VISIBLE_AFTER = f"""
SELECT originator_id, id, time FROM ({_VISIBLE}) visible
 WHERE (time, id) > (%b, %b) ORDER BY time, id LIMIT %b
"""  # noqa: S608  constants of this module
_VISIBLE_COUNT = f"SELECT count(*) FROM ({_VISIBLE}) visible"  # noqa: S608  constants of this module
_LIKES = f"""
SELECT {ABOUT_IMAGE}, sum(CASE topic WHEN 'like.taken_back' THEN -1 ELSE 1 END)::int8 FROM log.huajuan_events
 WHERE {ABOUT_IMAGE} = ANY(%b::text[]) AND {LIKES} AND notification_id <= %b GROUP BY 1
"""  # noqa: S608  constants of this module
_REQUESTS = f"""
SELECT {COLUMNS} FROM log.huajuan_events
 WHERE originator_id = ANY(%b) AND topic IN ('image.requested', 'image.drawn')
"""  # noqa: S608  constants of this module
PictureCursor = tuple[datetime, int]


class Profile(NamedTuple):
    """`id` is the position of the registration; `likes` and `favorites` count those that the account gave."""

    account_id: UUID
    id: int
    account: Account
    registered_at: datetime
    images: int
    likes: int
    favorites: int
    is_admin: bool


class ShownPicture(NamedTuple):
    """A picture that was visible: its API id, its request, its drawing and its likes.

    `generation_id` is the id of its job.
    """

    id: int
    time: datetime
    requested: Image.Requested
    drawn: Image.Drawn
    likecount: int
    generation_id: int


def position_at(connection: psycopg.Connection, moment: datetime) -> int:
    """The position of the last event whose time is not after the moment; 0 before the first event."""
    certainly_later = _first_after(connection, min(moment, _LATEST) + _CLOCK_SKEW)
    found = connection.execute(_LAST.encode(), (certainly_later, moment), binary=True).fetchone()
    return int(found[0]) if found else 0


def _first_after(connection: psycopg.Connection, moment: datetime) -> int:
    """Binary search for a position after which all events are later, apart from clock skew."""
    low, high = 1, read_log_head(connection)[0]
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(_NEXT.encode(), (middle,), prepare=True, binary=True).fetchone()
        if row is None or row[1] > moment:
            high = middle
        else:
            low = row[0] + 1
    return high


def account_at(
    reader: EventReader, account: UUID, last: int, seconds_max: float
) -> tuple[int, Account] | None:
    """The position of the registration, and the account; `None` before that. Raises `AuditTimeout`."""
    state: Any = None
    registered = 0
    for position, event in stop_after(seconds_max, reader.stream(account, last)):
        registered = registered or position
        state = event.mutate(state)
    return (registered, state) if state else None


def profile_at(
    connection: psycopg.Connection, account: UUID, last: int, seconds_max: float
) -> Profile | None:
    """`None` before the registration. Raises `AuditTimeout`."""
    reader = EventReader(connection)
    found = account_at(reader, account, last, seconds_max)
    if found is None:
        return None
    registered, state = found
    likes, favorites = fetch_one(connection, _COUNTS, str(account), last)
    is_admin = _is_admin_at(reader, stream_ids(connection).admin(account), last)
    images = 0 if state.is_erased else _count_visible(connection, account, last)
    return Profile(account, registered, state, state.created_on, images, likes, favorites, is_admin)


def gallery_at(
    connection: psycopg.Connection,
    account: UUID,
    last: int,
    after: PictureCursor,
    limit: int,
    seconds_max: float,
) -> tuple[str | None, list[ShownPicture]] | None:
    """The username and up to `limit` pictures after the cursor, oldest first; `None` if not registered."""
    reader = EventReader(connection)
    found = account_at(reader, account, last, seconds_max)
    if found is None:
        return None
    state = found[1]
    return state.username, [] if state.is_erased else _visible(reader, account, last, after, limit)


def _is_admin_at(reader: EventReader, role: UUID, last: int) -> bool:
    admin: Any = None
    for recorded in reader.stream(role, last):
        admin = recorded.event.mutate(admin)
    return isinstance(admin, Admin) and admin.is_active


def _count_visible(connection: psycopg.Connection, account: UUID, last: int) -> int:
    return int(fetch_one(connection, _VISIBLE_COUNT, requested_images(connection, account, last), last)[0])


def _visible(
    reader: EventReader, account: UUID, last: int, after: PictureCursor, limit: int
) -> list[ShownPicture]:
    connection = reader.connection
    values = (requested_images(connection, account, last), last, *after, limit)
    rows = connection.execute(_VISIBLE_AFTER.encode(), values, prepare=True, binary=True).fetchall()
    images = [row[0] for row in rows]
    events: dict[UUID, dict[type, Any]] = {image: {} for image in images}
    jobs: dict[UUID, int] = {}
    for position, event in reader.select(_REQUESTS, (images,)):
        events[event.originator_id][type(event)] = event
        if isinstance(event, Image.Requested):
            jobs[event.originator_id] = position
    likes = _likes(connection, images, last)
    return [
        ShownPicture(
            position,
            time,
            events[image][Image.Requested],
            events[image][Image.Drawn],
            likes.get(str(image), 0),
            jobs[image],
        )
        for image, position, time in rows
    ]


def _likes(connection: psycopg.Connection, images: list[UUID], last: int) -> dict[str, int]:
    values = ([str(image) for image in images], last)
    return dict(connection.execute(_LIKES.encode(), values, prepare=True, binary=True).fetchall())
