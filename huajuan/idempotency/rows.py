"""The table of requests with an idempotency key: the running request, its lease, and the stored reply."""

from typing import Any, NamedTuple
from uuid import UUID, uuid4

from huajuan.idempotency.keys import IdempotentRequest
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


class ClaimedRow(NamedTuple):
    """The row is this run's. All runs have one `command_id`; `since` is the position before the first."""

    command_id: UUID
    since: int


class ExistingRow(NamedTuple):
    """Another run has the row, or has stored its encrypted reply."""

    digest: bytes
    reply: bytes | None


class IdempotencyRows:
    """The lease of a run expires after `lease_seconds` without renewal; a row is kept for `kept_seconds`."""

    def __init__(self, statements: Statements, lease_seconds: float, kept_seconds: float) -> None:
        self._statements = statements
        self._bounds = {"lease": lease_seconds, "kept": kept_seconds}

    async def claim(self, request: IdempotentRequest, run: UUID) -> ClaimedRow | ExistingRow | None:
        """`None` if the row was inserted or deleted at the same time: call again."""
        rows = await self._run(
            _CLAIM,
            row=request.row,
            account=request.account_id,
            digest=request.digest,
            command=uuid4(),
            run=run,
        )
        if not rows:
            return None
        command_id, since, digest, reply = rows[0]
        if command_id is not None:
            return ClaimedRow(command_id, since)
        is_expired = await self._run(_DELETE_IF_EXPIRED, row=request.row)
        return None if is_expired else ExistingRow(digest, reply)

    async def renew(self, runs: list[UUID]) -> None:
        await self._run(_RENEW, runs=runs)

    async def store(
        self, request: IdempotentRequest, run: UUID, reply: bytes, account_id: UUID | None
    ) -> None:
        """`account_id` is the account of the reply, for a request that had none (a registration)."""
        await self._run(_STORE, row=request.row, run=run, reply=reply, account=account_id)

    async def release(self, request: IdempotentRequest, run: UUID) -> None:
        """Ends the lease, so that the next copy of the request runs."""
        await self._run(_RELEASE, row=request.row, run=run)

    async def delete_expired(self, limit: int) -> int:
        """Returns the number of deleted rows: fewer than `limit` if none are left."""
        return len(await self._run(_DELETE_EXPIRED, limit=limit))

    async def delete_requests_of(self, account_id: UUID, limit: int) -> int:
        return len(await self._run(_DELETE_OF_ACCOUNT, account=account_id, limit=limit))

    async def _run(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        return await self._statements.run(statement, self._bounds | values)
