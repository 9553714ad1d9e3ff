"""The past of an account from the log alone: its timeline, and its state and pictures at a position."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from huajuan.audit.connection import fetch_all, fetch_one, read_log_head, stop_after, stream_ids
from huajuan.audit.event_lookup import (
    ABOUT_ACCOUNT,
    ABOUT_IMAGE,
    COLUMNS,
    LIKES,
    OF_ACCOUNTS,
    EventReader,
    drawn_positions,
    requested_images,
    requested_positions,
)
from huajuan.domain.account import Account
from huajuan.domain.admin import Admin
from huajuan.domain.image import Image
from huajuan.event_store.log_reader import RecordedEvent

PictureCursor = tuple[datetime, int]
# `email_claim.released` follows its claim in the stream and does not have the account's id.
_TIMELINE_EVENTS = f"""(
    SELECT {COLUMNS} FROM log.huajuan_events WHERE originator_id = ANY(%b)
     UNION ALL
    SELECT {COLUMNS} FROM log.huajuan_events WHERE {ABOUT_ACCOUNT} = %b::text AND {OF_ACCOUNTS}
     UNION ALL
    SELECT r.originator_id, r.originator_version, r.topic, r.state, r.notification_id
      FROM (SELECT originator_id, originator_version FROM log.huajuan_events
             WHERE {ABOUT_ACCOUNT} = %b::text AND {OF_ACCOUNTS}
               AND topic IN ('email_claim.claimed', 'email_claim.claimed_again')) c
      JOIN log.huajuan_events r
        ON r.originator_id = c.originator_id AND r.originator_version = c.originator_version + 1
     WHERE r.topic = 'email_claim.released') found
 WHERE notification_id < %b"""  # noqa: S608  constants of this module
_TIMELINE = f"SELECT * FROM {_TIMELINE_EVENTS} ORDER BY notification_id DESC LIMIT %b"  # noqa: S608
_TIMELINE_COUNT = f"SELECT count(*) FROM {_TIMELINE_EVENTS}"  # noqa: S608  constants of this module
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


class TimelineEvent(NamedTuple):
    """An event that concerns the account.

    `actor` is the acting account's username, or its id in the log if it was erased; `None` is the service
    itself. `image` is the picture's id in the log, `image_id` its id in the API once it was drawn,
    `generation_id` the id of its job.
    """

    position: int
    event: Any
    actor: str | None
    is_own_action: bool
    image: UUID | None
    image_id: int | None
    generation_id: int | None = None


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


def read_timeline(
    connection: psycopg.Connection, account: UUID, before: int, limit: int
) -> list[TimelineEvent]:
    """Newest first, at most `limit` before a position."""
    reader, last = EventReader(connection), read_log_head(connection)[0]
    found = reader.select(_TIMELINE, (*_timeline_values(connection, account, last), before, limit))
    images = list({image for each in found if (image := _image(each))})
    ids, jobs = drawn_positions(connection, images, last), requested_positions(connection, images, last)
    names = usernames_of(reader, {each.event.actor for each in found})

    def timeline_event(recorded: RecordedEvent) -> TimelineEvent:
        event, image = recorded.event, _image(recorded)
        return TimelineEvent(
            recorded.position,
            event,
            names.get(event.actor, str(event.actor)) if event.actor else None,
            event.actor == account,
            image,
            ids.get(image) if image else None,
            jobs.get(image) if image else None,
        )

    return [timeline_event(each) for each in found]


def count_timeline_events(connection: psycopg.Connection, account: UUID, before: int) -> int:
    """The number of events before a position."""
    values = (*_timeline_values(connection, account, read_log_head(connection)[0]), before)
    return int(fetch_one(connection, _TIMELINE_COUNT, *values)[0])


def _timeline_values(connection: psycopg.Connection, account: UUID, last: int) -> tuple[list[UUID], str, str]:
    """The parameters of `_TIMELINE_EVENTS`: the account's streams, and its id for two index lookups."""
    streams = [account, stream_ids(connection).admin(account), *requested_images(connection, account, last)]
    return streams, str(account), str(account)


def usernames_of(reader: EventReader, accounts: set[UUID | None]) -> dict[UUID, str]:
    """Usernames by account, without erased accounts."""
    first = [each.event for each in reader.first_events([a for a in accounts if a])]
    return {e.originator_id: e.username for e in first if isinstance(e, Account.Registered) and e.username}


def _image(recorded: RecordedEvent) -> UUID | None:
    """The picture that the event concerns."""
    name = "originator_id" if isinstance(recorded.event, Image.Event) else "image_id"
    return getattr(recorded.event, name, None)


def position_at(connection: psycopg.Connection, moment: datetime) -> int:
    """The position of the last event whose time is not after the moment; 0 before the first event."""
    later = _first_after(connection, min(moment, _LATEST) + _CLOCK_SKEW)
    for (position,) in fetch_all(connection, _LAST, later, moment):
        return int(position)
    return 0


def _first_after(connection: psycopg.Connection, moment: datetime) -> int:
    """Binary search for a position after which all events are later, apart from clock skew."""
    low, high = 1, read_log_head(connection)[0]
    while low < high:
        middle = (low + high) // 2
        rows = fetch_all(connection, _NEXT, middle)
        if not rows or rows[0][1] > moment:
            high = middle
        else:
            low = rows[0][0] + 1
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
    admin: Any = None
    for recorded in reader.stream(stream_ids(connection).admin(account), last):
        admin = recorded.event.mutate(admin)
    is_admin = isinstance(admin, Admin) and admin.is_active
    requested = [] if state.is_erased else requested_images(connection, account, last)
    images = int(fetch_one(connection, _VISIBLE_COUNT, requested, last)[0])
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


def _visible(
    reader: EventReader, account: UUID, last: int, after: PictureCursor, limit: int
) -> list[ShownPicture]:
    connection = reader.connection
    requested = requested_images(connection, account, last)
    rows = fetch_all(connection, _VISIBLE_AFTER, requested, last, *after, limit)
    images = [row[0] for row in rows]
    events: dict[tuple[UUID, type], RecordedEvent] = {
        (each.event.originator_id, type(each.event)): each for each in reader.select(_REQUESTS, (images,))
    }
    likes = dict(fetch_all(connection, _LIKES, [str(image) for image in images], last))
    pictures = []
    for image, position, time in rows:
        request, drawing = events[image, Image.Requested], events[image, Image.Drawn]
        count = likes.get(str(image), 0)
        pictures.append(ShownPicture(position, time, request.event, drawing.event, count, request.position))
    return pictures
