"""Which inference servers draw, and why: the setting names them, or an admin added or removed them."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import structlog

from huajuan.domain.inference_servers import Studio
from huajuan.domain.server_address import one_of_each, place_of, without_credentials
from huajuan.event_store.errors import LogError
from huajuan.event_store.installation import stream_ids_at_once
from huajuan.jobs.limits import DispatchLimits
from huajuan.jobs.servers import Painters
from huajuan.postgres.connect import connect_blocking
from huajuan.postgres.statements import Statements

SETTING, ADMIN = "setting", "admin"
VARIABLE = "HUAJUAN_COMFYUI_URLS"
_TOPICS = {"added": Studio.PainterAdded.TOPIC, "removed": Studio.PainterRemoved.TOPIC}
_CHANGES = """
SELECT e.topic = %(added)s, said ->> 'url', said ->> 'timestamp', said ->> 'reason'
  FROM log.huajuan_events e, LATERAL (SELECT convert_from(e.state, 'UTF8')::json AS said) AS state
 WHERE e.originator_id = %(studio)s AND e.topic IN (%(added)s, %(removed)s)
 ORDER BY e.originator_version
"""
_logger = structlog.get_logger(__name__)


class ServerChange(NamedTuple):
    """An admin's act. `at` is in ISO 8601."""

    is_added: bool
    url: str
    at: str
    reason: str


class ServerOrigin(msgspec.Struct, frozen=True):
    """A server that draws, or one that the setting names and an admin removed.

    `url` has no credentials. `source` is `setting` or `admin`; `changed_at` and `reason` are those of the admin's
    last act, null where there was none.
    """

    url: str
    draws: bool
    source: str
    changed_at: str | None = None
    reason: str | None = None

    @property
    def sentence(self) -> str:
        if not self.draws:
            return (
                f"{self.url} does not draw: removed by an admin on {self._date}, although {VARIABLE} names it"
            )
        if self.source == ADMIN:
            return f"{self.url} (added by an admin on {self._date})"
        return f"{self.url} (named by {VARIABLE})"

    @property
    def _date(self) -> str:
        return (self.changed_at or "")[:10]


def server_origins(configured: Iterable[str], changes: Iterable[ServerChange]) -> list[ServerOrigin]:
    """`changes` in the order of the log: the last one of each server holds, whatever the setting names."""
    named = list(configured)
    places = set(map(place_of, named))
    last = {place_of(change.url): change for change in changes}
    urls = one_of_each([*named, *(change.url for change in last.values() if change.is_added)])
    found = (_origin(url, place_of(url) in places, last.get(place_of(url))) for url in urls)
    return [origin for origin in found if origin is not None]


def _origin(url: str, is_named: bool, change: ServerChange | None) -> ServerOrigin | None:
    shown = without_credentials(url)
    if change is None:
        return ServerOrigin(shown, True, SETTING)
    if not change.is_added and not is_named:
        return None
    source = SETTING if is_named else ADMIN
    return ServerOrigin(shown, change.is_added, source, _in_utc(change.at), change.reason)


def _in_utc(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).isoformat()


async def find_origins(
    statements: Statements, studio_id: UUID, configured: Iterable[str]
) -> list[ServerOrigin]:
    """Raises `LogUnavailable`."""
    return server_origins(
        configured, _changes(await statements.run(_CHANGES, {"studio": studio_id, **_TOPICS}))
    )


def find_origins_at_once(dsn: str, configured: Iterable[str]) -> list[ServerOrigin]:
    """The same outside of an event loop. Raises `psycopg.Error`."""
    with connect_blocking(dsn) as connection:
        values = {"studio": stream_ids_at_once(connection).studio(), **_TOPICS}
        rows = connection.execute(_CHANGES.encode(), values).fetchall()
    return server_origins(configured, _changes(rows))


def _changes(rows: list[tuple[Any, ...]]) -> list[ServerChange]:
    return [ServerChange(*row) for row in rows]


async def keep_logging_origins(
    statements: Statements, studio_id: UUID, painters: Painters, limits: DispatchLimits
) -> None:
    """For ever: logs which servers draw and why, at the start and when that changes."""
    logged: list[ServerOrigin] | None = None
    looked_at: set[str] | None = None
    while True:
        if painters.all.keys() != looked_at:
            try:
                looked_at = set(painters.all)
                origins = await find_origins(statements, studio_id, painters.configured)
            except LogError as error:
                looked_at = None
                _logger.warning("inference servers not read", error=type(error).__name__)
            else:
                if origins != logged:
                    _log(origins)
                logged = origins
        await asyncio.sleep(limits.painters_every_seconds)


def _log(origins: list[ServerOrigin]) -> None:
    drawing = [origin.sentence for origin in origins if origin.draws]
    removed = [origin.sentence for origin in origins if not origin.draws]
    _logger.info("inference servers", drawing=drawing, removed=removed)
