"""The origin of each inference server: the setting names it, or an admin added or removed it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import msgspec
import structlog

from huajuan.domain.inference_servers import (
    InferenceServers,
    deduplicate_servers,
    server_key,
    without_credentials,
)
from huajuan.event_store.stream_ids import load_stream_ids_blocking
from huajuan.postgres.connect import connect_blocking
from huajuan.postgres.statements import Statements

if TYPE_CHECKING:
    from huajuan.jobs.servers import ServerPool

SETTING, ADMIN = "setting", "admin"
VARIABLE = "HUAJUAN_COMFYUI_URLS"
_TOPICS = {"added": InferenceServers.ServerAdded.TOPIC, "removed": InferenceServers.ServerRemoved.TOPIC}
_CHANGES = """
SELECT e.topic = %(added)s, fields ->> 'url', fields ->> 'timestamp', fields ->> 'reason'
  FROM log.huajuan_events e, LATERAL (SELECT convert_from(e.state, 'UTF8')::json AS fields) AS state
 WHERE e.originator_id = %(studio)s AND e.topic IN (%(added)s, %(removed)s)
 ORDER BY e.originator_version
"""
_logger = structlog.get_logger(__name__)


class ServerChange(NamedTuple):
    """A server that an admin added or removed. `at` is in ISO 8601."""

    is_added: bool
    url: str
    at: str
    reason: str


class ServerOrigin(msgspec.Struct, frozen=True):
    """A present server, or one that the setting names and an admin removed.

    `url` has no credentials. `source` is `setting` or `admin`. `changed_at` and `reason` are those of the
    last change by an admin, `None` if there was none.
    """

    url: str
    draws: bool
    source: str
    changed_at: str | None = None
    reason: str | None = None

    @property
    def sentence(self) -> str:
        date = (self.changed_at or "")[:10]
        if not self.draws:
            return f"{self.url} does not draw: removed by an admin on {date}, although {VARIABLE} names it"
        how = f"added by an admin on {date}" if self.source == ADMIN else f"named by {VARIABLE}"
        return f"{self.url} ({how})"


def server_origins(configured: Iterable[str], changes: Iterable[ServerChange]) -> list[ServerOrigin]:
    """`changes` are in log order. The last change of a server takes precedence over the setting."""
    named = list(configured)
    keys = set(map(server_key, named))
    last = {server_key(change.url): change for change in changes}
    urls = deduplicate_servers([*named, *(change.url for change in last.values() if change.is_added)])
    origins = (_origin(url, server_key(url) in keys, last.get(server_key(url))) for url in urls)
    return [origin for origin in origins if origin is not None]


def _origin(url: str, is_named: bool, change: ServerChange | None) -> ServerOrigin | None:
    public_url = without_credentials(url)
    if change is None:
        return ServerOrigin(public_url, True, SETTING)
    if not change.is_added and not is_named:
        return None
    source = SETTING if is_named else ADMIN
    changed_at = datetime.fromisoformat(change.at).astimezone(UTC).isoformat()
    return ServerOrigin(public_url, change.is_added, source, changed_at, change.reason)


async def find_origins(
    statements: Statements, studio_id: UUID, configured: Iterable[str]
) -> list[ServerOrigin]:
    """Raises `DatabaseUnavailable`."""
    rows = await statements.run(_CHANGES, {"studio": studio_id, **_TOPICS})
    return server_origins(configured, (ServerChange(*row) for row in rows))


def find_origins_blocking(dsn: str, configured: Iterable[str]) -> list[ServerOrigin]:
    """As `find_origins`, without an event loop. Raises `psycopg.Error`."""
    with connect_blocking(dsn) as connection:
        values = {"studio": load_stream_ids_blocking(connection).inference_servers(), **_TOPICS}
        rows = connection.execute(_CHANGES.encode(), values).fetchall()
    return server_origins(configured, (ServerChange(*row) for row in rows))


class OriginLogger:
    """Logs the origins of the servers at the start and whenever they change."""

    def __init__(self, statements: Statements, studio_id: UUID, servers: "ServerPool") -> None:
        self._statements, self._studio_id, self._servers = statements, studio_id, servers
        self._urls: set[str] | None = None
        self._logged: list[ServerOrigin] | None = None

    async def log_changes(self) -> None:
        """Raises `DatabaseFailure`; then the next call tries again."""
        urls = set(self._servers.all)
        if urls == self._urls:
            return
        origins = await find_origins(self._statements, self._studio_id, self._servers.configured)
        if origins != self._logged:
            present = [origin.sentence for origin in origins if origin.draws]
            removed = [origin.sentence for origin in origins if not origin.draws]
            _logger.info("inference servers", present=present, removed=removed)
        self._urls, self._logged = urls, origins
