"""Each live server holds a lease, with keyed hashes of the settings on which all servers must agree."""

import hashlib
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import structlog

from huajuan.domain.rules import CHECK_IN_REWARD, PICTURE_COST
from huajuan.event_store.errors import DatabaseFailure
from huajuan.event_store.schema import SCHEMA_NUMBER, own_digest
from huajuan.event_store.stream_ids import StreamIds
from huajuan.postgres.connect import connect_blocking
from huajuan.postgres.statements import Statements
from huajuan.runtime.health import Problem
from huajuan.settings import INTERNAL_PREFIX, PREFIX, Settings, SettingsError

# The lease of a killed server expires after this time; a live one renews it four times as often.
LEASE_SECONDS = 6.0
RENEW_SECONDS = LEASE_SECONDS / 4
SECRET_SETTING = "HUAJUAN_JWT_SECRET"  # noqa: S105  the name of the setting
_POLL_SECONDS = 0.25
_RELEASE_SECONDS_MAX = 2
_LOCK = 4731
_ASYNC_COMMIT = "set_config('synchronous_commit', 'off', true)"
_ALIVE = """
SELECT id, name, program, started_at, expires_at, secret, settings FROM operations.servers
 WHERE expires_at > clock_timestamp() ORDER BY started_at, id
"""
_DELETE_EXPIRED = "DELETE FROM operations.servers WHERE expires_at < clock_timestamp()"
_TAKE = """
INSERT INTO operations.servers AS lease (id, name, program, expires_at, secret, settings)
VALUES (%(id)s, %(name)s, %(program)s, clock_timestamp() + make_interval(secs => %(seconds)s), %(secret)s,
        %(settings)s::jsonb)
ON CONFLICT (id) DO UPDATE SET expires_at = EXCLUDED.expires_at
 WHERE lease.expires_at < EXCLUDED.expires_at - make_interval(secs => %(seconds)s / 5)
"""
_RENEW = f"""
WITH async_commit AS (SELECT {_ASYNC_COMMIT}), renewed AS ({_TAKE})
SELECT i.schema_number, i.schema_digest, s.name, s.secret, s.settings
  FROM async_commit CROSS JOIN operations.installation i
  LEFT JOIN operations.servers s ON s.id <> %(id)s AND s.expires_at > clock_timestamp()
"""  # noqa: S608  constants of this module
_RELEASE = "DELETE FROM operations.servers WHERE id = %(id)s"
# Internal variable: the identity of the server, for its workers.
IDENTITY = f"{INTERNAL_PREFIX}SERVER_IDENTITY"
# Any server may handle a user's request, so these settings must have the same values everywhere.
SHARED = (
    "check_in_limit",
    "erasure_grace_seconds",
    "generate_wait_seconds",
    "idempotency_kept_hours",
    "job_seconds_max",
    "jobs_per_account_max",
    "jobs_per_server_max",
    "jobs_waiting_max",
    "list_rows_max",
    "login_account_failures_max",
    "login_address_failures_max",
    "login_window_seconds",
    "public_url_aliases",
    "registration",
    "registrations_per_address_hour",
    "restore_hours",
    "time_zone",
    "token_hours",
    "welcome_points",
)
# The secret may be weak, so a guess must cost much: about 50 ms and 16 MiB.
_SCRYPT: dict[str, int] = {"n": 1 << 14, "r": 8, "p": 1, "dklen": 32}
_logger = structlog.get_logger(__name__)


class ServerIdentity(msgspec.Struct, frozen=True):
    """The row of a server. `settings` has a keyed hash for each setting's name."""

    id: UUID
    name: str
    secret: bytes
    settings: dict[str, str]
    program: int = SCHEMA_NUMBER


class LiveServer(msgspec.Struct, frozen=True):
    """A server whose lease has not expired."""

    id: UUID
    name: str
    program: int
    started_at: datetime
    expires_at: datetime
    secret: bytes
    settings: dict[str, str]


class SecretDiffers(SettingsError):
    """A live server signs its tokens with another secret; the message is one line without either secret."""


def live_servers(connection: psycopg.Connection) -> list[LiveServer]:
    return [LiveServer(*row) for row in connection.execute(_ALIVE.encode())]


def disagreements(servers: Iterable[ServerIdentity | LiveServer]) -> list[str]:
    """The settings in which any two servers differ; one that only one program has is no difference."""
    found: dict[str, set[str]] = {}
    for server in servers:
        for name, value in {**server.settings, SECRET_SETTING: server.secret.hex()}.items():
            found.setdefault(name, set()).add(value)
    return sorted(name for name, values in found.items() if len(values) > 1)


def acquire_lease(dsn: str, own: ServerIdentity) -> None:
    """Inserts the lease. Raises `SecretDiffers` if a live server has another secret.

    A lease with another secret that is not renewed belongs to a killed server: its expiry is awaited.
    """
    deadline = time.monotonic() + 2 * LEASE_SECONDS
    first_seen: dict[UUID, datetime] = {}
    with connect_blocking(dsn) as connection:
        while others := _insert_unless_secret_differs(connection, own):
            for other in others:
                is_renewed = first_seen.setdefault(other.id, other.expires_at) < other.expires_at
                if is_renewed or time.monotonic() > deadline:
                    raise SecretDiffers(
                        f"{SECRET_SETTING} differs from that of the server {other.name} on this database: "
                        "give all servers the same one (without it each uses signing.key of its data folder)"
                    )
            time.sleep(_POLL_SECONDS)


def _insert_unless_secret_differs(connection: psycopg.Connection, own: ServerIdentity) -> list[LiveServer]:
    """Under a lock: of two servers that start at once, one must see the other. Returns the others."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        connection.execute(_DELETE_EXPIRED)
        others = [s for s in live_servers(connection) if s.id != own.id and s.secret != own.secret]
        if not others:
            connection.execute(_TAKE.encode(), _values(own))
        return others


def release_lease(dsn: str, own: ServerIdentity) -> None:
    """Deletes the lease at the end of the server. If that fails, the lease expires."""
    try:
        with connect_blocking(dsn, connect_timeout=_RELEASE_SECONDS_MAX) as connection:
            connection.execute(f"SET statement_timeout = '{_RELEASE_SECONDS_MAX}s'".encode())
            connection.execute(_RELEASE, {"id": own.id})
    except psycopg.Error as error:
        _logger.warning("server lease left to expire", error=type(error).__name__)


class ServerLease:
    """One per worker: renews the lease of its server, and compares its settings with those of the others."""

    def __init__(self, statements: Statements, own: ServerIdentity) -> None:
        self._statements = statements
        self._own = own
        self._different: frozenset[tuple[str, str]] = frozenset()
        self._schema_is_replaced = False

    async def release(self) -> None:
        try:
            await self._statements.run(_RELEASE, {"id": self._own.id})
        except DatabaseFailure as error:
            _logger.warning("server lease left to expire", error=type(error).__name__)

    def problems(self) -> Iterator[Problem]:
        """A health check."""
        if names := sorted({name for _, name in self._different}):
            detail = f"Another live server has other values of {', '.join(names)}."
            yield Problem("settings_differ", detail, blocking=False)
        if self._schema_is_replaced:
            detail = "Another program has replaced the functions in the database: restart this one."
            yield Problem("schema_replaced", detail, blocking=False)

    async def renew(self) -> None:
        """Call it every `RENEW_SECONDS`. A renewal by one worker counts for all workers of its server."""
        rows = await self._statements.run(_RENEW, _values(self._own))
        number, digest = rows[0][:2]
        self._schema_is_replaced = number == self._own.program and digest != own_digest()
        different: set[tuple[str, str]] = set()
        for _, _, name, secret, shared in rows:
            if name:
                other = msgspec.structs.replace(self._own, secret=secret, settings=shared)
                different.update((name, setting) for setting in disagreements((self._own, other)))
        self._log_changes(different)

    def _log_changes(self, different: set[tuple[str, str]]) -> None:
        for server in sorted({server for server, _ in different - self._different}):
            names = sorted(setting for one, setting in different if one == server)
            _logger.warning("settings differ between servers", server=server, settings=names)
        if self._different and not different:
            _logger.info("settings of the servers agree again")
        self._different = frozenset(different)


def _values(own: ServerIdentity) -> dict[str, object]:
    return {
        "id": own.id,
        "name": own.name,
        "program": own.program,
        "secret": own.secret,
        "settings": msgspec.json.encode(own.settings).decode(),
        "seconds": LEASE_SECONDS,
    }


def identity_from_environment(environment: Mapping[str, str]) -> ServerIdentity | None:
    """The identity of the server whose worker this process is."""
    encoded = environment.get(IDENTITY)
    return msgspec.json.decode(encoded, type=ServerIdentity) if encoded else None


def make_server_identity(
    settings: Settings, ids: StreamIds, picture_store: UUID | None = None
) -> ServerIdentity:
    """The hashes are keyed per installation, so that those of two installations cannot be compared."""
    values: dict[str, Any] = {
        **{f"{PREFIX}{name.upper()}": getattr(settings, name) for name in SHARED},
        f"{PREFIX}PUBLIC_URL": settings.public_address,
        f"{PREFIX}STORAGE_URL": str(picture_store or settings.storage_place),
        "the price of a picture": PICTURE_COST,
        "the points of a check-in": CHECK_IN_REWARD,
    }
    return ServerIdentity(
        id=uuid4(),
        name=f"{socket.gethostname()}:{os.getpid()}",
        secret=_slow_hash(settings.jwt_secret.encode(), ids.keyed_hash("salt", "secret")),
        settings={
            name: ids.keyed_hash(name, msgspec.json.encode(value).decode()).hex()
            for name, value in values.items()
        },
    )


@lru_cache(maxsize=4)
def _slow_hash(secret: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(secret, salt=salt, **_SCRYPT)
