"""One key, one effect: of the copies of a request one runs, and the others get its reply."""

import asyncio
from dataclasses import dataclass
from uuid import UUID, uuid4

import msgspec
import structlog

from huajuan.event_store.errors import LogError
from huajuan.event_store.request_context import Command
from huajuan.idempotency.keys import KeyedRequest, Reply
from huajuan.idempotency.rows import Claimed, Found, KeyedRows
from huajuan.postgres.statements import Statements

_PAUSE_SECONDS = 0.02
_PAUSE_SECONDS_MAX = 0.5
_logger = structlog.get_logger(__name__)


class IdempotencyLimits(msgspec.Struct, frozen=True):
    """A copy waits up to `wait_seconds` for the one that runs, whose claim lapses unless it is renewed.

    A reply longer than `reply_bytes_max` is not kept.
    """

    wait_seconds: float = 10
    lease_seconds: float = 20
    heartbeat_seconds: float = 5
    kept_hours: float = 24
    waiting_max: int = 1_000
    reply_bytes_max: int = 64 << 10
    sweep_batch_max: int = 1_000


class OtherBody(Exception):
    """The key came with another body before."""


class StillRunning(Exception):
    """Another copy has run for longer than this one may wait, or too many are waiting."""


@dataclass(frozen=True, eq=False)
class Run:
    """The copy that runs; it ends with `finish` or `let_go`."""

    id: UUID
    request: KeyedRequest
    command: Command


Told = tuple[bytes, Reply] | None


class _Here:
    """A request that one copy in this process runs, or waits for on behalf of the others here."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self.told: asyncio.Future[Told] = asyncio.get_running_loop().create_future()


class Idempotency:
    """No connection is held while a copy waits, and one copy a process asks the database for all of them."""

    def __init__(self, statements: Statements, limits: IdempotencyLimits) -> None:
        self.limits = limits
        self._rows = KeyedRows(statements, limits.lease_seconds, limits.kept_hours * 3600)
        self._here: dict[bytes, _Here] = {}
        self._waiting = 0

    async def begin(self, request: KeyedRequest) -> Run | Reply:
        """The reply of an earlier copy, or a run. Raises `OtherBody`, `StillRunning` and `LogError`."""
        if self._waiting >= self.limits.waiting_max:
            raise StillRunning
        self._waiting += 1
        try:
            return await self._begin(request, _now() + self.limits.wait_seconds)
        finally:
            self._waiting -= 1

    async def finish(self, run: Run, reply: Reply, account_id: UUID | None) -> None:
        """Keep the reply. If that fails, the claim lapses, and the next run finds what this one changed."""
        try:
            await self._rows.store(run.request, run.id, run.request.seal(reply), account_id)
        except Exception as error:  # noqa: BLE001  what is committed is never reported as failed
            _logger.warning("reply not kept", error=type(error).__name__)
        finally:
            self._tell(run.request, (run.request.digest, reply))

    async def let_go(self, run: Run) -> None:
        """It came to nothing that holds for good: the next copy runs."""
        try:
            await self._rows.let_go(run.request, run.id)
        except Exception as error:  # noqa: BLE001  the reply has been decided
            _logger.warning("claim left to lapse", error=type(error).__name__)
        finally:
            self._tell(run.request, None)

    async def keep_claims(self) -> None:
        """For ever: renew the claims of what runs here."""
        while True:
            await asyncio.sleep(self.limits.heartbeat_seconds)
            if runs := [here.run.id for here in self._here.values() if here.run]:
                try:
                    await self._rows.renew(runs)
                except LogError as error:
                    _logger.warning("claims not renewed", error=type(error).__name__)

    async def tidy(self) -> None:
        most = self.limits.sweep_batch_max
        while await self._rows.forget_aged(most) == most:
            pass

    async def forget_those_of(self, account_id: UUID, most: int) -> int:
        """How many of an erased person's requests are forgotten; fewer than `most` when no more are left."""
        return await self._rows.forget_those_of(account_id, most)

    async def _begin(self, request: KeyedRequest, give_up_at: float) -> Run | Reply:
        while here := self._here.get(request.row):
            if reply := await _reply_of(here, request, give_up_at):
                return reply
        return await self._speak_for_others(request, give_up_at)

    async def _speak_for_others(self, request: KeyedRequest, give_up_at: float) -> Run | Reply:
        here = self._here[request.row] = _Here()
        try:
            outcome = await self._claim(request, give_up_at)
        except BaseException:
            self._tell(request, None)
            raise
        if isinstance(outcome, Run):
            here.run = outcome
        else:
            self._tell(request, (request.digest, outcome))
        return outcome

    async def _claim(self, request: KeyedRequest, give_up_at: float) -> Run | Reply:
        run, pause = uuid4(), _PAUSE_SECONDS
        while True:
            match await self._rows.claim(request, run):
                case Claimed(command, since):
                    return Run(run, request, Command(command, since))
                case Found(digest, _) if digest != request.digest:
                    raise OtherBody
                case Found(_, bytes(sealed)):
                    return request.open(sealed)
            if _now() + pause > give_up_at:
                raise StillRunning
            await asyncio.sleep(pause)
            pause = min(pause * 2, _PAUSE_SECONDS_MAX)

    def _tell(self, request: KeyedRequest, told: Told) -> None:
        here = self._here.pop(request.row, None)
        if here and not here.told.done():
            here.told.set_result(told)


async def _reply_of(here: _Here, request: KeyedRequest, give_up_at: float) -> Reply | None:
    """`None` if none came: then it is another copy's turn."""
    if here.run and here.run.request.digest != request.digest:
        raise OtherBody
    try:
        async with asyncio.timeout_at(give_up_at):
            told = await asyncio.shield(here.told)
    except TimeoutError:
        raise StillRunning from None
    if told is None:
        return None
    digest, reply = told
    if digest != request.digest:
        raise OtherBody
    return reply


def _now() -> float:
    return asyncio.get_running_loop().time()
