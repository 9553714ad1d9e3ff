"""Compares stored pictures with the sizes and SHA-256 digests that the log has recorded."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal, NamedTuple
from uuid import UUID

import psycopg

from huajuan.audit.connection import AuditError, fetch_all
from huajuan.audit.event_lookup import COLUMNS, EventReader
from huajuan.audit.hash_chain import LOWEST, position_ranges
from huajuan.domain.image import Image
from huajuan.event_store.log_reader import RecordedEvent
from huajuan.storage.pictures import PictureMissing, Pictures, StorageUnavailable

PAGE_POSITIONS = 2_000
THREADS = 8
# After so many consecutive unreadable pictures the whole store is considered unavailable.
UNREADABLE_MAX = 20
PictureFault = Literal["missing", "changed", "unreadable"]
_DRAWN = f"""
SELECT {COLUMNS} FROM log.huajuan_events
 WHERE notification_id >= %b AND notification_id <= %b AND topic = '{Image.Drawn.TOPIC}'
 ORDER BY notification_id
"""  # noqa: S608  constants of this module
_LAST_CHANGES = """
SELECT DISTINCT ON (originator_id) originator_id, topic FROM log.huajuan_events
 WHERE originator_id = ANY(%b) AND topic = ANY(%b) ORDER BY originator_id, originator_version DESC
"""
_CHANGES = [kind.TOPIC for kind in (Image.Deleted, Image.Restored, Image.Swept, Image.Erased)]
_REMOVED = {Image.Swept.TOPIC, Image.Erased.TOPIC}
_MAY_BE_MISSING = _REMOVED | {Image.Deleted.TOPIC}


class PictureCheck(NamedTuple):
    """Without a `fault` the picture equals its record, or `is_gone`: deleted, swept or erased."""

    picture: str
    position: int
    fault: PictureFault | None = None
    is_gone: bool = False
    detail: str = ""


def check_pictures(
    connection: psycopg.Connection, pictures: Pictures, last: int, on_progress: Callable[[int], None]
) -> Iterator[PictureCheck]:
    """Checks each picture drawn up to a position, one page of positions at a time.

    Calls `on_progress` with the position reached. Raises `AuditError` if the picture store is unavailable.
    """
    reader, unreadable = EventReader(connection), 0
    with ThreadPoolExecutor(THREADS, thread_name_prefix="pictures") as pool:
        try:
            for first, upto in position_ranges(connection, LOWEST, last, PAGE_POSITIONS):
                drawn = reader.select(_DRAWN, (first, upto))
                changes = _last_changes(connection, [each.event.originator_id for each in drawn])
                for check in pool.map(partial(_check, pictures, changes), drawn):
                    unreadable = unreadable + 1 if check.fault == "unreadable" else 0
                    if unreadable >= UNREADABLE_MAX:
                        raise AuditError(f"the picture store is unavailable: {check.detail}")
                    yield _recheck_changes(connection, check)
                on_progress(upto)
        finally:
            pool.shutdown(cancel_futures=True)


def _last_changes(connection: psycopg.Connection, images: list[UUID]) -> dict[UUID, str]:
    """The topic of the last deletion, restoration, sweep or erasure of each picture that has one."""
    return dict(fetch_all(connection, _LAST_CHANGES, images, _CHANGES))


def _check(pictures: Pictures, changes: dict[UUID, str], drawn: RecordedEvent) -> PictureCheck:
    event = drawn.event
    change = changes.get(event.originator_id, "")
    check = PictureCheck(event.picture, drawn.position)
    if change in _REMOVED:
        return check._replace(is_gone=True)
    try:
        is_same = pictures.digest(event.picture, event.size) == event.digest
    except PictureMissing:
        is_gone = change in _MAY_BE_MISSING
        return check._replace(is_gone=is_gone, fault=None if is_gone else "missing")
    except StorageUnavailable as error:
        return check._replace(fault="unreadable", detail=str(error))
    return check if is_same else check._replace(fault="changed")


def _recheck_changes(connection: psycopg.Connection, check: PictureCheck) -> PictureCheck:
    """The picture may have been deleted or erased since its changes were read."""
    if check.fault is None:
        return check
    image = UUID(check.picture[:32])
    change = _last_changes(connection, [image]).get(image)
    is_gone = change in (_MAY_BE_MISSING if check.fault == "missing" else _REMOVED)
    return check._replace(fault=None, is_gone=True) if is_gone else check
