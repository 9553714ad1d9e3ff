"""Idempotent requests: of the copies of a request with one key one runs, and the others get its reply.

The table `operations.idempotency` has the running request, its lease, and the encrypted reply.
"""

import asyncio
import hashlib
import hmac
import os
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import msgspec
import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from huajuan.event_store.request_context import IdempotentCommand
from huajuan.postgres.retry import Backoff
from huajuan.postgres.statements import Statements

# A statement whose result was lost is sent again, and then finds its own row by the run's id.
_CLAIM = """
WITH mine AS (
    INSERT INTO operations.idempotency AS i (id, account_id, digest, command_id, since, run_id, expires_at)
    SELECT %(row)s, %(account)s, %(digest)s, %(command)s, coalesce(max(notification_id), 0), %(run)s,
           now() + make_interval(secs => %(lease)s)
      FROM log.huajuan_events
    ON CONFLICT (id) DO UPDATE SET run_id = EXCLUDED.run_id, expires_at = EXCLUDED.expires_at
     WHERE i.digest = EXCLUDED.digest AND i.reply IS NULL
       AND (i.expires_at <= now() OR i.run_id = EXCLUDED.run_id)
       AND i.claimed_at > now() - make_interval(secs => %(kept)s)
    RETURNING command_id, since)
SELECT command_id, since, NULL::bytea, NULL::bytea FROM mine
 UNION ALL
SELECT NULL, NULL, digest, reply FROM operations.idempotency
 WHERE id = %(row)s AND NOT EXISTS (SELECT FROM mine)
"""
_RENEW = """
UPDATE operations.idempotency SET expires_at = now() + make_interval(secs => %(lease)s)
 WHERE run_id = ANY(%(runs)s) AND reply IS NULL
"""
_STORE = """
UPDATE operations.idempotency
   SET reply = %(reply)s, account_id = coalesce(account_id, %(account)s), expires_at = now()
 WHERE id = %(row)s AND run_id = %(run)s
"""
_RELEASE = "UPDATE operations.idempotency SET expires_at = now() WHERE id = %(row)s AND run_id = %(run)s"
_DELETE_IF_EXPIRED = """
DELETE FROM operations.idempotency
 WHERE id = %(row)s AND claimed_at <= now() - make_interval(secs => %(kept)s) AND expires_at <= now()
RETURNING 1
"""
_DELETE_EXPIRED = """
DELETE FROM operations.idempotency WHERE id IN (
    SELECT id FROM operations.idempotency
     WHERE claimed_at <= now() - make_interval(secs => %(kept)s) AND expires_at <= now()
     ORDER BY claimed_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING 1
"""
_DELETE_OF_ACCOUNT = """
DELETE FROM operations.idempotency WHERE id IN (
    SELECT id FROM operations.idempotency WHERE account_id = %(account)s LIMIT %(limit)s)
RETURNING 1
"""
_NONCE_BYTES = 12
_logger = structlog.get_logger(__name__)


class IdempotencyLimits(msgspec.Struct, frozen=True):
    """A copy waits up to `wait_seconds` for the running one. A reply over `reply_bytes_max` is not stored."""

    wait_seconds: float = 10
    lease_seconds: float = 20
    heartbeat_seconds: float = 5
    kept_hours: float = 24
    waiting_max: int = 1_000
    reply_bytes_max: int = 64 << 10
    sweep_batch_max: int = 1_000


class StoredReply(msgspec.Struct, frozen=True):
    """A reply as it was sent; `headers` are names and values in order."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


@dataclass(frozen=True)
class IdempotentRequest:
    """`row` identifies the request, `digest` its body; `secret` encrypts the reply.

    `account_id` is `None` for a request without log-in.
    """

    row: bytes
    digest: bytes
    account_id: UUID | None
    secret: AESGCM

    def seal(self, reply: StoredReply) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self.secret.encrypt(nonce, msgspec.msgpack.encode(reply), self.row)

    def open(self, sealed: bytes) -> StoredReply:
        opened = self.secret.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self.row)
        return msgspec.msgpack.decode(opened, type=StoredReply)


class IdempotencyKeys:
    """Derives the identity of requests from a `secret` outside of the database; a new one makes all new."""

    def __init__(self, secret: str) -> None:
        self._key = hmac.digest(secret.encode(), b"idempotency", hashlib.sha256)

    def name(self, key: str, who: str, route: str, body: str, account_id: UUID | None) -> IdempotentRequest:
        """`who` is an account or address, `route` method, path and query, `body` a hexadecimal SHA-256."""
        parts = [key, who, route]
        return IdempotentRequest(
            row=self._derive("row", *parts),
            digest=self._derive("body", *parts, body),
            account_id=account_id,
            secret=AESGCM(self._derive("reply", *parts)),
        )

    def _derive(self, *parts: str) -> bytes:
        return hmac.digest(self._key, msgspec.msgpack.encode(parts), hashlib.sha256)


class BodyMismatch(Exception):
    """The key was used before with another body."""


class StillRunning(Exception):
    """Another copy runs for longer than this one may wait, or too many copies are waiting."""


@dataclass(frozen=True, eq=False)
class RequestRun:
    """The copy that runs; end it with `finish` or `release`."""

    id: UUID
    request: IdempotentRequest
    command: IdempotentCommand


# The digest of the body that ran, and its reply; `None` if the run ended without a reply.
Outcome = tuple[bytes, StoredReply] | None


class _LocalRequest:
    """A request that one copy in this process runs, or waits for on behalf of the other copies here."""

    def __init__(self) -> None:
        self.run: RequestRun | None = None
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()


class Idempotency:
    """Waiting holds no database connection, and one copy per process polls the database for all of them."""

    def __init__(self, statements: Statements, limits: IdempotencyLimits) -> None:
        self.limits = limits
        self._statements = statements
        self._bounds = {"lease": limits.lease_seconds, "kept": limits.kept_hours * 3600}
        self._local: dict[bytes, _LocalRequest] = {}
        self._waiting = 0

    async def begin(self, request: IdempotentRequest) -> RequestRun | StoredReply:
        """The reply of an earlier copy, or a run. Raises `BodyMismatch` and `StillRunning`."""
        if self._waiting >= self.limits.waiting_max:
            raise StillRunning
        self._waiting += 1
        try:
            return await self._begin(request, Backoff(self.limits.wait_seconds))
        finally:
            self._waiting -= 1

    async def finish(self, run: RequestRun, reply: StoredReply, account_id: UUID | None) -> None:
        """Stores the reply. If that fails, the lease expires, and the next run finds this one's changes.

        `account_id` is the account of the reply, for a request that had none (a registration).
        """
        request = run.request
        try:
            sealed = request.seal(reply)
            await self._run(_STORE, row=request.row, run=run.id, reply=sealed, account=account_id)
        except Exception as error:  # noqa: BLE001  a committed command is never reported as failed
            _logger.warning("reply not kept", error=type(error).__name__)
        finally:
            self._set_outcome(request, (request.digest, reply))

    async def release(self, run: RequestRun) -> None:
        """Ends a run without a lasting reply, and its lease: the next copy runs."""
        try:
            await self._run(_RELEASE, row=run.request.row, run=run.id)
        except Exception as error:  # noqa: BLE001  the reply is already decided
            _logger.warning("claim left to expire", error=type(error).__name__)
        finally:
            self._set_outcome(run.request, None)

    async def renew_claims(self) -> None:
        """Renews the leases of the runs in this process. Call it every `heartbeat_seconds`."""
        if runs := [local.run.id for local in self._local.values() if local.run]:
            await self._run(_RENEW, runs=runs)

    async def delete_expired(self) -> None:
        limit = self.limits.sweep_batch_max
        while len(await self._run(_DELETE_EXPIRED, limit=limit)) == limit:
            pass

    async def delete_requests_of(self, account_id: UUID, limit: int) -> int:
        """Deletes up to `limit` requests of an erased account and returns their number."""
        return len(await self._run(_DELETE_OF_ACCOUNT, account=account_id, limit=limit))

    async def _begin(self, request: IdempotentRequest, backoff: Backoff) -> RequestRun | StoredReply:
        while local := self._local.get(request.row):
            if reply := await _reply_of(local, request, backoff.deadline):
                return reply
        local, run_id = _LocalRequest(), uuid4()
        self._local[request.row] = local
        try:
            while not (claimed := await self._claim(request, run_id)):
                if not await backoff.pause():
                    raise StillRunning
        except BaseException:
            self._set_outcome(request, None)
            raise
        if isinstance(claimed, RequestRun):
            local.run = claimed
        else:
            self._set_outcome(request, (request.digest, claimed))
        return claimed

    async def _claim(self, request: IdempotentRequest, run_id: UUID) -> RequestRun | StoredReply | None:
        """`None` while another server runs it, or where its row was inserted or deleted at the same time."""
        row, account, digest = request.row, request.account_id, request.digest
        found = await self._run(_CLAIM, row=row, account=account, digest=digest, command=uuid4(), run=run_id)
        if not found:
            return None
        command_id, since, stored_digest, sealed = found[0]
        if command_id is not None:
            # All runs have one command; `since` is the position before the first.
            return RequestRun(run_id, request, IdempotentCommand(command_id, since))
        if await self._run(_DELETE_IF_EXPIRED, row=row):
            return None
        if stored_digest != digest:
            raise BodyMismatch
        return request.open(sealed) if sealed is not None else None

    async def _run(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        return await self._statements.run(statement, self._bounds | values)

    def _set_outcome(self, request: IdempotentRequest, outcome: Outcome) -> None:
        local = self._local.pop(request.row, None)
        if local and not local.outcome.done():
            local.outcome.set_result(outcome)


async def _reply_of(local: _LocalRequest, request: IdempotentRequest, deadline: float) -> StoredReply | None:
    """The reply of the copy that runs in this process; `None` if it ended without one."""
    if local.run and local.run.request.digest != request.digest:
        raise BodyMismatch
    try:
        async with asyncio.timeout_at(deadline):
            outcome = await asyncio.shield(local.outcome)
    except TimeoutError:
        raise StillRunning from None
    if outcome is None:
        return None
    digest, reply = outcome
    if digest != request.digest:
        raise BodyMismatch
    return reply
