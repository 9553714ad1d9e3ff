"""Everything that happened to one account, found in all the streams that tell of it."""

from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from huajuan.audit.connecting import newest, stream_ids
from huajuan.audit.events import COLUMNS, Reader
from huajuan.audit.whereabouts import ABOUT_ACCOUNT, OF_ACCOUNTS, drawn_at, images_of
from huajuan.domain.account import Account
from huajuan.domain.image import Image
from huajuan.event_store.reading import Recorded

# An address is released by the event that follows its claim, and that event does not say by whom.
_ABOUT = f"""
SELECT * FROM (
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
 WHERE notification_id < %b ORDER BY notification_id DESC LIMIT %b
"""  # noqa: S608  our own words


class Happening(NamedTuple):
    """An event that touched the account.

    `actor` is who did it, by name, or by the id in the log where they are erased; `None` is the service itself.
    `image` is the picture's id in the log, `image_id` its id on the wire if it was ever drawn.
    """

    position: int
    event: Any
    actor: str | None
    by_themselves: bool
    image: UUID | None
    image_id: int | None


def happenings(connection: psycopg.Connection, account: UUID, before: int, most: int) -> list[Happening]:
    """Newest first, those before a position."""
    reader, last = Reader(connection), newest(connection)[0]
    streams = [account, stream_ids(connection).admin(account), *images_of(connection, account, last)]
    found = reader.select(_ABOUT, (streams, str(account), str(account), before, most))
    images = {image for one in found if (image := _image(one))}
    ids = drawn_at(connection, list(images), last)
    names = names_of(reader, {one.event.actor for one in found})
    return [_happening(account, one, names, ids) for one in found]


def names_of(reader: Reader, accounts: set[UUID | None]) -> dict[UUID, str]:
    """The usernames of those who are not erased."""
    begun = [one.event for one in reader.beginnings([a for a in accounts if a])]
    return {e.originator_id: e.username for e in begun if isinstance(e, Account.Registered) and e.username}


def _happening(account: UUID, one: Recorded, names: dict[UUID, str], ids: dict[UUID, int]) -> Happening:
    image, actor = _image(one), one.event.actor
    return Happening(
        one.position,
        one.event,
        names.get(actor, str(actor)) if actor else None,
        actor == account,
        image,
        ids.get(image) if image else None,
    )


def _image(one: Recorded) -> UUID | None:
    if isinstance(one.event, Image.Event):
        of_stream: UUID = one.event.originator_id
        return of_stream
    return getattr(one.event, "image_id", None)
