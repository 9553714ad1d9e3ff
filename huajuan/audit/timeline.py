"""The timeline of one account: its events in all streams that refer to it."""

from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from huajuan.audit.connection import fetch_one, read_log_head, stream_ids
from huajuan.audit.event_lookup import (
    ABOUT_ACCOUNT,
    COLUMNS,
    OF_ACCOUNTS,
    EventReader,
    drawn_positions,
    requested_images,
    requested_positions,
)
from huajuan.domain.account import Account
from huajuan.domain.image import Image
from huajuan.event_store.log_reader import RecordedEvent

# `email_claim.released` follows its claim in the stream and does not have the account's id.
_FOUND = f"""(
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
_PAGE = f"SELECT * FROM {_FOUND} ORDER BY notification_id DESC LIMIT %b"  # noqa: S608  constants
_COUNT = f"SELECT count(*) FROM {_FOUND}"  # noqa: S608  constants of this module


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


def read_timeline(
    connection: psycopg.Connection, account: UUID, before: int, limit: int
) -> list[TimelineEvent]:
    """Newest first, at most `limit` before a position."""
    reader, last = EventReader(connection), read_log_head(connection)[0]
    found = reader.select(_PAGE, (*_found_values(connection, account, last), before, limit))
    images = list({image for each in found if (image := _image(each))})
    ids, jobs = drawn_positions(connection, images, last), requested_positions(connection, images, last)
    names = usernames_of(reader, {each.event.actor for each in found})
    return [_timeline_event(account, each, names, ids, jobs) for each in found]


def count_timeline_events(connection: psycopg.Connection, account: UUID, before: int) -> int:
    """The number of events before a position."""
    values = (*_found_values(connection, account, read_log_head(connection)[0]), before)
    return int(fetch_one(connection, _COUNT, *values)[0])


def _found_values(connection: psycopg.Connection, account: UUID, last: int) -> tuple[list[UUID], str, str]:
    """The parameters of `_FOUND`: the streams of the account, and its id for two index lookups."""
    streams = [account, stream_ids(connection).admin(account), *requested_images(connection, account, last)]
    return streams, str(account), str(account)


def usernames_of(reader: EventReader, accounts: set[UUID | None]) -> dict[UUID, str]:
    """Usernames by account, without erased accounts."""
    first = [each.event for each in reader.first_events([a for a in accounts if a])]
    return {e.originator_id: e.username for e in first if isinstance(e, Account.Registered) and e.username}


def _timeline_event(
    account: UUID,
    recorded: RecordedEvent,
    names: dict[UUID, str],
    ids: dict[UUID, int],
    jobs: dict[UUID, int],
) -> TimelineEvent:
    image, actor = _image(recorded), recorded.event.actor
    return TimelineEvent(
        recorded.position,
        recorded.event,
        names.get(actor, str(actor)) if actor else None,
        actor == account,
        image,
        ids.get(image) if image else None,
        jobs.get(image) if image else None,
    )


def _image(recorded: RecordedEvent) -> UUID | None:
    if isinstance(recorded.event, Image.Event):
        of_stream: UUID = recorded.event.originator_id
        return of_stream
    return getattr(recorded.event, "image_id", None)
