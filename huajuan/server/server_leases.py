"""The lease of each server that is alive, with hashes of the settings on which all servers must agree."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from uuid import UUID

import msgspec
import psycopg
import structlog

from huajuan.event_store.errors import LogError
from huajuan.event_store.schema import SCHEMA_NUMBER, own_digest
from huajuan.observability.health import Problem
from huajuan.postgres.connect import connect_blocking
from huajuan.postgres.statements import Statements

# The row of a killed server lapses within this time; a live one renews it four times as often.
LEASE_SECONDS = 6.0
RENEW_SECONDS = LEASE_SECONDS / 4
SECRET_SETTING = "HUAJUAN_JWT_SECRET"  # noqa: S105  the name of the setting
_LOOK_SECONDS = 0.25
_RELEASE_SECONDS_MAX = 2
_LOCK = 4731
_WITHOUT_WAITING_FOR_THE_DISK = "set_config('synchronous_commit', 'off', true)"
_ALIVE = """
SELECT id, name, program, started_at, lapses_at, secret, settings FROM operations.servers
 WHERE lapses_at > clock_timestamp() ORDER BY started_at, id
"""
_FORGET_LAPSED = "DELETE FROM operations.servers WHERE lapses_at < clock_timestamp()"
_TAKE = """
INSERT INTO operations.servers AS held (id, name, program, lapses_at, secret, settings)
VALUES (%(id)s, %(name)s, %(program)s, clock_timestamp() + make_interval(secs => %(seconds)s), %(secret)s,
        %(settings)s::jsonb)
ON CONFLICT (id) DO UPDATE SET lapses_at = EXCLUDED.lapses_at
 WHERE held.lapses_at < EXCLUDED.lapses_at - make_interval(secs => %(seconds)s / 5)
"""
# One worker's renewal counts for all workers of its server.
_RENEW = f"""
WITH quickly AS (SELECT {_WITHOUT_WAITING_FOR_THE_DISK}), renewed AS ({_TAKE})
SELECT i.schema_number, i.schema, s.name, s.secret, s.settings
  FROM quickly CROSS JOIN operations.installation i
  LEFT JOIN operations.servers s ON s.id <> %(id)s AND s.lapses_at > clock_timestamp()
"""  # noqa: S608  nothing but texts of this module
_RELEASE = "DELETE FROM operations.servers WHERE id = %(id)s"
_logger = structlog.get_logger(__name__)


class ServerIdentity(msgspec.Struct, frozen=True):
    """What a server's row says of it. `settings` has a keyed hash by the name of the setting."""

    id: UUID
    name: str
    secret: bytes
    settings: dict[str, str]
    program: int = SCHEMA_NUMBER


class LiveServer(msgspec.Struct, frozen=True):
    """A server whose lease has not lapsed."""

    id: UUID
    name: str
    program: int
    started_at: datetime
    lapses_at: datetime
    secret: bytes
    settings: dict[str, str]


class SecretDiffers(Exception):
    """A live server signs its tokens with another secret; the message says so in one line, without either."""


def live_servers(connection: psycopg.Connection) -> list[LiveServer]:
    return [LiveServer(*row) for row in connection.execute(_ALIVE.encode())]


def disagreements(servers: Iterable[ServerIdentity | LiveServer]) -> list[str]:
    """The names of the settings in which any two of these differ; what only a newer program has is no difference."""
    found: dict[str, set[str]] = {}
    for server in servers:
        for name, value in {**server.settings, SECRET_SETTING: server.secret.hex()}.items():
            found.setdefault(name, set()).add(value)
    return sorted(name for name, values in found.items() if len(values) > 1)


def take_lease(dsn: str, own: ServerIdentity) -> None:
    """For `RELEASE`, or until it is no longer renewed. Raises `SecretDiffers`.

    A row with another secret that is not renewed belongs to a server that was killed: it is waited for until it lapses.
    """
    deadline = time.monotonic() + 2 * LEASE_SECONDS
    known: dict[UUID, datetime] = {}
    with connect_blocking(dsn) as connection:
        while others := _take_unless_secret_differs(connection, own):
            for other in others:
                if (
                    known.setdefault(other.id, other.lapses_at) < other.lapses_at
                    or time.monotonic() > deadline
                ):
                    raise SecretDiffers(
                        f"{SECRET_SETTING} differs from that of the server {other.name}, which serves this database: "
                        "give all servers the same one (without it each uses signing.key of its data folder)"
                    )
            time.sleep(_LOOK_SECONDS)


def _take_unless_secret_differs(connection: psycopg.Connection, own: ServerIdentity) -> list[LiveServer]:
    """Under a lock, for of two that start at once one must see the other."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        connection.execute(_FORGET_LAPSED)
        others = [s for s in live_servers(connection) if s.id != own.id and s.secret != own.secret]
        if not others:
            connection.execute(_TAKE.encode(), _values(own))
        return others


def release_lease(dsn: str, own: ServerIdentity) -> None:
    """At the end of the server. Where that fails the lease lapses."""
    try:
        with connect_blocking(dsn, connect_timeout=_RELEASE_SECONDS_MAX) as connection:
            connection.execute(f"SET statement_timeout = '{_RELEASE_SECONDS_MAX}s'".encode())
            connection.execute(_RELEASE, {"id": own.id})
    except psycopg.Error as error:
        _logger.warning("server lease left to lapse", error=type(error).__name__)


class ServerLease:
    """One per worker: renews the row of its server, and compares it with those of the others."""

    def __init__(self, statements: Statements, own: ServerIdentity) -> None:
        self._statements = statements
        self._own = own
        self._different: frozenset[tuple[str, str]] = frozenset()
        self._schema_is_replaced = False

    async def keep(self) -> None:
        """For ever."""
        while True:
            try:
                await self._renew()
            except (LogError, psycopg.Error) as error:
                _logger.warning("server lease not renewed", error=type(error).__name__)
            await asyncio.sleep(RENEW_SECONDS)

    async def release(self) -> None:
        try:
            await self._statements.run(_RELEASE, {"id": self._own.id})
        except LogError as error:
            _logger.warning("server lease left to lapse", error=type(error).__name__)

    def problems(self) -> Iterator[Problem]:
        """For `HealthChecks`."""
        if names := sorted({name for _, name in self._different}):
            detail = f"Another live server has other values of {', '.join(names)}."
            yield Problem("settings_differ", detail, blocking=False)
        if self._schema_is_replaced:
            detail = (
                "Another program has replaced the functions in the database by its own: restart this one."
            )
            yield Problem("schema_replaced", detail, blocking=False)

    async def _renew(self) -> None:
        rows = await self._statements.run(_RENEW, _values(self._own))
        number, digest = rows[0][:2]
        self._schema_is_replaced = number == self._own.program and digest != own_digest()
        self._note(
            {(name, setting) for _, _, name, *held in rows if name for setting in self._differing(*held)}
        )

    def _differing(self, secret: bytes, settings: dict[str, str]) -> list[str]:
        other = msgspec.structs.replace(self._own, secret=secret, settings=settings)
        return disagreements((self._own, other))

    def _note(self, different: set[tuple[str, str]]) -> None:
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
