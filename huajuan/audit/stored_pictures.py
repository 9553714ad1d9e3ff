"""Compares stored pictures with the sizes and digests that the log has on record."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal, NamedTuple
from uuid import UUID

import psycopg

from huajuan.audit.errors import AuditError
from huajuan.audit.events import COLUMNS, Reader
from huajuan.audit.log_pages import LOWEST
from huajuan.audit.ranges import ranges
from huajuan.domain.image import Image
from huajuan.event_store.log_reader import Recorded
from huajuan.storage.pictures import PictureMissing, Pictures, StoreAway

PAGE_POSITIONS = 2_000
THREADS = 8
# So many pictures in a row that cannot be read are a store that does not work.
UNREADABLE_MAX = 20
Fault = Literal["missing", "changed", "unreadable"]
_DRAWN = f"""
SELECT {COLUMNS} FROM log.huajuan_events
 WHERE notification_id >= %b AND notification_id <= %b AND topic = '{Image.Drawn.TOPIC}'
 ORDER BY notification_id
"""  # noqa: S608  our own words
_FATES = """
SELECT DISTINCT ON (originator_id) originator_id, topic FROM log.huajuan_events
 WHERE originator_id = ANY(%b) AND topic = ANY(%b) ORDER BY originator_id, originator_version DESC
"""
_FATEFUL = [kind.TOPIC for kind in (Image.Deleted, Image.Restored, Image.Swept, Image.Erased)]
_FOR_GOOD = {Image.Swept.TOPIC, Image.Erased.TOPIC}
_MAY_LACK = _FOR_GOOD | {Image.Deleted.TOPIC}


class Compared(NamedTuple):
    """A picture that should be stored; `is_gone` if it was deleted, swept or erased and has no file to be compared."""

    picture: str
    position: int
    fault: Fault | None = None
    is_gone: bool = False
    detail: str = ""


def compare(
    connection: psycopg.Connection, pictures: Pictures, last: int, told: Callable[[int], None]
) -> Iterator[Compared]:
    """Every picture drawn up to a position, in memory for a page of them. `told` hears the position reached.

    Raises `AuditError` where the store does not work.
    """
    reader, unreadable = Reader(connection), 0
    with ThreadPoolExecutor(THREADS, thread_name_prefix="pictures") as pool:
        try:
            for first, upto in ranges(connection, LOWEST, last, PAGE_POSITIONS):
                drawn = reader.select(_DRAWN, (first, upto))
                fates = _fates(connection, drawn)
                for one in pool.map(partial(_compare, pictures, fates), drawn):
                    unreadable = unreadable + 1 if one.fault == "unreadable" else 0
                    if unreadable >= UNREADABLE_MAX:
                        raise AuditError(f"the picture store does not work: {one.detail}")
                    yield _unless_gone_since(connection, one)
                told(upto)
        finally:
            pool.shutdown(cancel_futures=True)


def _fates(connection: psycopg.Connection, drawn: list[Recorded]) -> dict[UUID, str]:
    """What became of pictures last, of those that were not simply kept."""
    streams = [one.event.originator_id for one in drawn]
    return dict(connection.execute(_FATES.encode(), (streams, _FATEFUL), binary=True).fetchall())


def _compare(pictures: Pictures, fates: dict[UUID, str], drawn: Recorded) -> Compared:
    event = drawn.event
    fate = fates.get(event.originator_id, "")
    compared = Compared(event.picture, drawn.position)
    if fate in _FOR_GOOD:
        return compared._replace(is_gone=True)
    try:
        is_same = pictures.digest(event.picture, event.size) == event.digest
    except PictureMissing:
        if fate in _MAY_LACK:
            return compared._replace(is_gone=True)
        return compared._replace(fault="missing")
    except StoreAway as error:
        return compared._replace(fault="unreadable", detail=str(error))
    return compared if is_same else compared._replace(fault="changed")


def _unless_gone_since(connection: psycopg.Connection, one: Compared) -> Compared:
    """Its file may have gone while it was looked for, and with reason."""
    if one.fault is None:
        return one
    query = _FATES.encode()
    found = connection.execute(query, ([UUID(one.picture[:32])], _FATEFUL), binary=True).fetchone()
    if found and found[1] in (_MAY_LACK if one.fault == "missing" else _FOR_GOOD):
        return one._replace(fault=None, is_gone=True)
    return one
