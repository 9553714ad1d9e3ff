"""Everything that happened to one account, found in all the streams that tell of it."""

from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from huajuan.audit.connection import newest, one, stream_ids
from huajuan.audit.event_lookup import ABOUT_ACCOUNT, OF_ACCOUNTS, drawn_at, images_of, requested_at
from huajuan.audit.events import COLUMNS, Reader
from huajuan.domain.account import Account
from huajuan.domain.image import Image
from huajuan.event_store.log_reader import Recorded

# An address is released by the event that follows its claim, and that event does not say by whom.
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
 WHERE notification_id < %b"""  # noqa: S608  our own words
_ABOUT = f"SELECT * FROM {_FOUND} ORDER BY notification_id DESC LIMIT %b"  # noqa: S608  our own words
_COUNT = f"SELECT count(*) FROM {_FOUND}"  # noqa: S608  our own words


class Happening(NamedTuple):
    """An event that touched the account.

    `actor` is who did it, by name, or by the id in the log where they are erased; `None` is the service itself.
    `image` is the picture's id in the log, `image_id` its id on the wire if it was ever drawn, `generation_id` the id
    of its job.
    """

    position: int
    event: Any
    actor: str | None
    by_themselves: bool
    image: UUID | None
    image_id: int | None
    generation_id: int | None = None


def happenings(connection: psycopg.Connection, account: UUID, before: int, most: int) -> list[Happening]:
    """Newest first, those before a position."""
    reader, last = Reader(connection), newest(connection)[0]
    found = reader.select(_ABOUT, (*_about(connection, account, last), before, most))
    images = list({image for each in found if (image := _image(each))})
    ids, jobs = drawn_at(connection, images, last), requested_at(connection, images, last)
    names = names_of(reader, {each.event.actor for each in found})
    return [_happening(account, each, names, ids, jobs) for each in found]


def count_happenings(connection: psycopg.Connection, account: UUID, before: int) -> int:
    """How many there are before a position."""
    values = (*_about(connection, account, newest(connection)[0]), before)
    return int(one(connection, _COUNT, *values)[0])


def _about(connection: psycopg.Connection, account: UUID, last: int) -> tuple[list[UUID], str, str]:
    """The streams of an account, and its id as the log's indexes have it."""
    streams = [account, stream_ids(connection).admin(account), *images_of(connection, account, last)]
    return streams, str(account), str(account)


def names_of(reader: Reader, accounts: set[UUID | None]) -> dict[UUID, str]:
    """The usernames of those who are not erased."""
    begun = [each.event for each in reader.beginnings([a for a in accounts if a])]
    return {e.originator_id: e.username for e in begun if isinstance(e, Account.Registered) and e.username}


def _happening(
    account: UUID, one: Recorded, names: dict[UUID, str], ids: dict[UUID, int], jobs: dict[UUID, int]
) -> Happening:
    image, actor = _image(one), one.event.actor
    return Happening(
        one.position,
        one.event,
        names.get(actor, str(actor)) if actor else None,
        actor == account,
        image,
        ids.get(image) if image else None,
        jobs.get(image) if image else None,
    )


def _image(one: Recorded) -> UUID | None:
    if isinstance(one.event, Image.Event):
        of_stream: UUID = one.event.originator_id
        return of_stream
    return getattr(one.event, "image_id", None)
