"""Idempotent requests: of the copies of a request with one key one runs, and the others get its reply."""

import asyncio
from dataclasses import dataclass
from uuid import UUID, uuid4

import msgspec
import structlog

from huajuan.event_store.request_context import IdempotentCommand
from huajuan.idempotency.keys import IdempotentRequest, StoredReply
from huajuan.idempotency.rows import ClaimedRow, ExistingRow, IdempotencyRows
from huajuan.postgres.retry import Backoff
from huajuan.postgres.statements import Statements

_logger = structlog.get_logger(__name__)


class IdempotencyLimits(msgspec.Struct, frozen=True):
    """A copy waits up to `wait_seconds` for the running one, whose lease expires unless it is renewed.

    A reply longer than `reply_bytes_max` is not stored.
    """

    wait_seconds: float = 10
    lease_seconds: float = 20
    heartbeat_seconds: float = 5
    kept_hours: float = 24
    waiting_max: int = 1_000
    reply_bytes_max: int = 64 << 10
    sweep_batch_max: int = 1_000


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
        self._rows = IdempotencyRows(statements, limits.lease_seconds, limits.kept_hours * 3600)
        self._local: dict[bytes, _LocalRequest] = {}
        self._waiting = 0

    async def begin(self, request: IdempotentRequest) -> RequestRun | StoredReply:
        """The reply of an earlier copy, or a run.

        Raises `BodyMismatch`, `StillRunning` and `DatabaseFailure`.
        """
        if self._waiting >= self.limits.waiting_max:
            raise StillRunning
        self._waiting += 1
        try:
            return await self._begin(request, Backoff(self.limits.wait_seconds))
        finally:
            self._waiting -= 1

    async def finish(self, run: RequestRun, reply: StoredReply, account_id: UUID | None) -> None:
        """Stores the reply. If that fails, the lease expires, and the next run finds this one's changes."""
        try:
            await self._rows.store(run.request, run.id, run.request.seal(reply), account_id)
        except Exception as error:  # noqa: BLE001  a committed command is never reported as failed
            _logger.warning("reply not kept", error=type(error).__name__)
        finally:
            self._set_outcome(run.request, (run.request.digest, reply))

    async def release(self, run: RequestRun) -> None:
        """Ends a run without a lasting reply: the next copy runs."""
        try:
            await self._rows.release(run.request, run.id)
        except Exception as error:  # noqa: BLE001  the reply is already decided
            _logger.warning("claim left to expire", error=type(error).__name__)
        finally:
            self._set_outcome(run.request, None)

    async def renew_claims(self) -> None:
        """Renews the leases of the runs in this process. Call it every `heartbeat_seconds`."""
        if runs := [local.run.id for local in self._local.values() if local.run]:
            await self._rows.renew(runs)

    async def delete_expired(self) -> None:
        limit = self.limits.sweep_batch_max
        while await self._rows.delete_expired(limit) == limit:
            pass

    async def delete_requests_of(self, account_id: UUID, limit: int) -> int:
        """Deletes up to `limit` requests of an erased account and returns their number."""
        return await self._rows.delete_requests_of(account_id, limit)

    async def _begin(self, request: IdempotentRequest, backoff: Backoff) -> RequestRun | StoredReply:
        while local := self._local.get(request.row):
            if reply := await _reply_of(local, request, backoff.deadline):
                return reply
        local = self._local[request.row] = _LocalRequest()
        try:
            claimed = await self._claim(request, backoff)
        except BaseException:
            self._set_outcome(request, None)
            raise
        if isinstance(claimed, RequestRun):
            local.run = claimed
        else:
            self._set_outcome(request, (request.digest, claimed))
        return claimed

    async def _claim(self, request: IdempotentRequest, backoff: Backoff) -> RequestRun | StoredReply:
        run = uuid4()
        while True:
            match await self._rows.claim(request, run):
                case ClaimedRow(command_id, since):
                    return RequestRun(run, request, IdempotentCommand(command_id, since))
                case ExistingRow(digest, _) if digest != request.digest:
                    raise BodyMismatch
                case ExistingRow(_, bytes(sealed)):
                    return request.open(sealed)
            if not await backoff.pause():
                raise StillRunning

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
