"""The rows of requests that were sent with a key: who runs which, until when, and what it came to."""

from typing import Any, NamedTuple
from uuid import UUID, uuid4

from huajuan.idempotency.keys import KeyedRequest
from huajuan.postgres.statements import Statements

# A statement whose answer was lost is sent again, and then knows its own row by the run.
_CLAIM = """
WITH mine AS (
    INSERT INTO operations.idempotency AS i (id, account_id, digest, command, since, run, lapses_at)
    SELECT %(row)s, %(account)s, %(digest)s, %(command)s, coalesce(max(notification_id), 0), %(run)s,
           now() + make_interval(secs => %(lease)s)
      FROM log.huajuan_events
    ON CONFLICT (id) DO UPDATE SET run = EXCLUDED.run, lapses_at = EXCLUDED.lapses_at
     WHERE i.digest = EXCLUDED.digest AND i.reply IS NULL
       AND (i.lapses_at <= now() OR i.run = EXCLUDED.run)
       AND i.claimed_at > now() - make_interval(secs => %(kept)s)
    RETURNING command, since)
SELECT command, since, NULL::bytea, NULL::bytea FROM mine
 UNION ALL
SELECT NULL, NULL, digest, reply FROM operations.idempotency
 WHERE id = %(row)s AND NOT EXISTS (SELECT FROM mine)
"""
_RENEW = """
UPDATE operations.idempotency SET lapses_at = now() + make_interval(secs => %(lease)s)
 WHERE run = ANY(%(runs)s) AND reply IS NULL
"""
_STORE = """
UPDATE operations.idempotency SET reply = %(reply)s, account_id = coalesce(account_id, %(account)s), lapses_at = now()
 WHERE id = %(row)s AND run = %(run)s
"""
_LET_GO = "UPDATE operations.idempotency SET lapses_at = now() WHERE id = %(row)s AND run = %(run)s"
_FORGET_IF_AGED = """
DELETE FROM operations.idempotency
 WHERE id = %(row)s AND claimed_at <= now() - make_interval(secs => %(kept)s) AND lapses_at <= now()
RETURNING 1
"""
_FORGET_AGED = """
DELETE FROM operations.idempotency WHERE id IN (
    SELECT id FROM operations.idempotency
     WHERE claimed_at <= now() - make_interval(secs => %(kept)s) AND lapses_at <= now()
     ORDER BY claimed_at LIMIT %(most)s FOR UPDATE SKIP LOCKED)
RETURNING 1
"""
_FORGET_THOSE_OF = """
DELETE FROM operations.idempotency WHERE id IN (
    SELECT id FROM operations.idempotency WHERE account_id = %(account)s LIMIT %(most)s)
RETURNING 1
"""


class Claimed(NamedTuple):
    """The row is this run's; every run has the same `command`, and before the first the log stood at `since`."""

    command: UUID
    since: int


class Found(NamedTuple):
    """Another run has the row, or has stored its reply, sealed."""

    digest: bytes
    reply: bytes | None


class KeyedRows:
    """A run that is not renewed lapses after `lease_seconds`; a row is kept for `kept_seconds`."""

    def __init__(self, statements: Statements, lease_seconds: float, kept_seconds: float) -> None:
        self._statements = statements
        self._bounds = {"lease": lease_seconds, "kept": kept_seconds}

    async def claim(self, request: KeyedRequest, run: UUID) -> Claimed | Found | None:
        """`None` if the row came or went in the meantime: then ask again."""
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
        command, since, digest, reply = rows[0]
        if command is not None:
            return Claimed(command, since)
        is_aged = await self._run(_FORGET_IF_AGED, row=request.row)
        return None if is_aged else Found(digest, reply)

    async def renew(self, runs: list[UUID]) -> None:
        await self._run(_RENEW, runs=runs)

    async def store(self, request: KeyedRequest, run: UUID, reply: bytes, account_id: UUID | None) -> None:
        """`account_id` is whom the reply concerns, where the request did not say whose it is."""
        await self._run(_STORE, row=request.row, run=run, reply=reply, account=account_id)

    async def let_go(self, request: KeyedRequest, run: UUID) -> None:
        """The row lapses at once: the next copy runs."""
        await self._run(_LET_GO, row=request.row, run=run)

    async def forget_aged(self, most: int) -> int:
        """How many are gone; fewer than `most` when no more are left."""
        return len(await self._run(_FORGET_AGED, most=most))

    async def forget_those_of(self, account_id: UUID, most: int) -> int:
        return len(await self._run(_FORGET_THOSE_OF, account=account_id, most=most))

    async def _run(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        return await self._statements.run(statement, self._bounds | values)
