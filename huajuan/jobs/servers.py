"""The inference servers (ComfyUI) of this process, with their circuit breakers and health checks."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

import structlog

from huajuan.domain.inference_servers import deduplicate_servers, without_credentials
from huajuan.inference_client import (
    ClientLimits,
    ComfyUI,
    DrawingFailed,
    InferenceError,
    JobState,
)
from huajuan.jobs.circuit_breaker import CircuitBreaker
from huajuan.jobs.queue import DispatchLimits

EXCLUDED_JOBS_MAX = 1000
SERVERS_NAMED_MAX = 5
# Of several servers that know a job, the one with the first of these states is used.
STATES_BY_PREFERENCE = (
    JobState.SUCCEEDED, JobState.RUNNING, JobState.QUEUED, JobState.FAILED, JobState.CANCELLED,
)  # fmt: skip
_logger = structlog.get_logger(__name__)


class ServerState(StrEnum):
    """Whether a server may get jobs, as far as this process knows."""

    READY = "ready"
    COOLDOWN = "cooldown"
    UNREACHABLE = "unreachable"
    UNFIT = "unfit"


class InferenceServer:
    """One server and its health.

    `url` has no credentials; it names the server in the queue, logs, metrics and replies. `is_reachable` is
    `None` before the first request. `problems` are the incompatibilities of the checked workflow, `None`
    before the check.
    """

    def __init__(self, url: str, client: ComfyUI, limits: DispatchLimits) -> None:
        self.url = url
        self.client = client
        self.is_reachable: bool | None = None
        self.has_succeeded = False
        self.problems: list[str] | None = None
        self._limits = limits
        self._circuit = CircuitBreaker(limits)
        self._last_failure: InferenceError | None = None
        self._rejection: InferenceError | None = None
        self._answered_at = 0.0
        self._lost_at = float("-inf")
        self._excluded_jobs: OrderedDict[UUID, None] = OrderedDict()

    @property
    def is_circuit_closed(self) -> bool:
        return not self._circuit.failures

    @property
    def jobs_max(self) -> int:
        return self._limits.jobs_per_server_max if self.is_circuit_closed else 1

    @property
    def cooldown_seconds(self) -> float:
        """The remaining time without jobs."""
        return self._circuit.cooldown_seconds

    @property
    def state(self) -> ServerState:
        if self.is_reachable is False:
            return ServerState.UNREACHABLE
        if not self.is_circuit_closed:
            return ServerState.COOLDOWN
        return ServerState.UNFIT if self.problems or self._rejection else ServerState.READY

    @property
    def reason(self) -> str | None:
        """Why it is not ready, for admins."""
        if self.state is ServerState.UNFIT and self.problems:
            return self.problems[0]
        unfit = {ServerState.UNFIT: self._rejection, ServerState.READY: None}
        error = unfit.get(self.state, self._last_failure)
        return error.reason if error else None

    @property
    def is_expected(self) -> bool:
        """Whether a job that no other server can draw waits for it: it answers, or did so a moment ago."""
        lost_seconds = asyncio.get_running_loop().time() - self._lost_at
        return self.is_reachable is not False or lost_seconds < self._limits.no_server_timeout_seconds

    @property
    def last_failure(self) -> str:
        """Its last failure in short, without the server's own text."""
        return self._last_failure.reason if self._last_failure else "it does not answer"

    def record_success(self) -> None:
        """A job succeeded: close the circuit."""
        self._circuit.record_success()
        self.is_reachable, self.has_succeeded, self._rejection = True, True, None
        self._answered_at = asyncio.get_running_loop().time()

    def record_unavailable(self, error: InferenceError, *, is_reachable: bool) -> None:
        """Open the circuit."""
        limits = self._limits
        longest = limits.cooldown_seconds_max if is_reachable else limits.unreachable_cooldown_seconds_max
        seconds = self._circuit.open(longest)
        if self.is_reachable and not is_reachable:
            self._lost_at = asyncio.get_running_loop().time()
        self.is_reachable = is_reachable
        self._log_cooldown(seconds, error)

    def half_open(self, error: InferenceError) -> None:
        """The server lost a job or is stuck in one: it gets one job at a time until one succeeds."""
        self._circuit.half_open()
        self.is_reachable = True
        self._log_cooldown(self._limits.cooldown_seconds_min, error)

    def record_problems(self, problems: list[str]) -> None:
        """Store the result of a compatibility check."""
        self.problems = problems
        if not problems:
            self._rejection = None

    def record_rejection(self, error: InferenceError) -> None:
        """The server rejected a workflow, which is no failure."""
        self.is_reachable, self._rejection = True, error

    def record_job_failure(self, image_id: UUID, account_id: UUID | None, error: InferenceError) -> None:
        """A job failed here. Consecutive failures in jobs of different accounts open the circuit."""
        self._last_failure = error
        if self._circuit.record_failure(image_id, account_id):
            self._log_cooldown(self.cooldown_seconds, error)

    def record_drawn_elsewhere(self, failed_at: float) -> None:
        """Another server drew a job that failed here and at no other server."""
        if self._circuit.counts(failed_at):
            error = self._last_failure or DrawingFailed("a job failed here that another server drew")
            self.record_unavailable(error, is_reachable=self.is_reachable is not False)

    def record_failure_elsewhere(self, image_id: UUID) -> None:
        """The job failed at another server as well, so it does not count against this one."""
        self._circuit.acquit(image_id)

    def _log_cooldown(self, seconds: float, error: InferenceError) -> None:
        self._last_failure = error
        event, why = "inference server in cooldown", {"reason": error.reason, "detail": error.detail}
        _logger.warning(event, server=self.url, seconds=seconds, **why)

    def exclude_job(self, image_id: UUID) -> None:
        """Ignore what the server has of this job from now on."""
        self._excluded_jobs[image_id] = None
        while len(self._excluded_jobs) > EXCLUDED_JOBS_MAX:
            self._excluded_jobs.popitem(last=False)

    def excludes_job(self, image_id: UUID) -> bool:
        return image_id in self._excluded_jobs

    async def ensure_reachable(self) -> bool:
        """Check a server that did not answer, or was never contacted, before it gets a job."""
        if not self.is_reachable:
            await self._check_health()
        return bool(self.is_reachable)

    async def check_while_idle(self) -> None:
        """Check a server without a job again, so that its loss is noticed before a job is sent to it."""
        idle_seconds = asyncio.get_running_loop().time() - self._answered_at
        if self.is_reachable and idle_seconds > self._limits.server_check_seconds:
            await self._check_health()

    async def _check_health(self) -> None:
        try:
            await self.client.check()
        except InferenceError as error:
            self.record_unavailable(error, is_reachable=False)
        else:
            self.is_reachable = True
            self._answered_at = asyncio.get_running_loop().time()


class JobLookup(NamedTuple):
    """Which server knows a job, if one does, and the addresses of those that did not answer."""

    known_by: InferenceServer | None
    unreachable: set[str]


OpenClient = Callable[[str], AbstractAsyncContextManager[ComfyUI]]


class ServerPool:
    """The present servers. Make one with `open_server_pool`.

    `configured` are the addresses in the settings, with credentials. `all` has each server by its address
    without them. `checked_workflow` is the digest of the workflow that their `problems` refer to. `added` is
    set when servers are added.
    """

    def __init__(self, open_client: OpenClient, limits: DispatchLimits, configured: Iterable[str]) -> None:
        self.all: dict[str, InferenceServer] = {}
        self.added = asyncio.Event()
        self.configured = deduplicate_servers(configured)
        self._open_client = open_client
        self._limits = limits
        self.checked_workflow: str | None = None
        self._clients = AsyncExitStack()
        self._unanswered_since: float | None = None

    async def update(self, urls: Iterable[str]) -> None:
        """Add the servers at new addresses and remove the others. A removed server finishes its jobs."""
        wanted = {without_credentials(url): url for url in urls}
        for name in [name for name in wanted if name not in self.all]:
            client = await self._clients.enter_async_context(self._open_client(wanted[name]))
            self.all[name] = InferenceServer(name, client, self._limits)
            self.added.set()
        for name in self.all.keys() - wanted.keys():
            del self.all[name]

    async def close(self) -> None:
        await self._clients.aclose()

    def __len__(self) -> int:
        """The number of servers that are not known to be unreachable."""
        return sum(server.is_reachable is not False for server in self.all.values())

    def seconds_without_server(self) -> float:
        """For how long no server has answered; 0 while one does."""
        now = asyncio.get_running_loop().time()
        if len(self):
            self._unanswered_since = None
        elif self._unanswered_since is None:
            self._unanswered_since = now
        return 0.0 if self._unanswered_since is None else now - self._unanswered_since

    def describe_outage(self) -> str:
        """One sentence for operators."""
        if not self.all:
            return "No inference server is left: an admin has removed all of them."
        named = [f"{s.url}: {s.last_failure}" for s in list(self.all.values())[:SERVERS_NAMED_MAX]]
        more = f"; and {len(self.all) - len(named)} more" if len(self.all) > len(named) else ""
        return f"No inference server answers: {'; '.join(named)}{more}."

    async def find_job(self, image_id: UUID) -> JobLookup:
        """Ask all servers at once. Of several that know the job, the one where it is furthest is taken."""
        servers = [server for server in self.all.values() if not server.excludes_job(image_id)]
        answers = await asyncio.gather(*(s.client.find(image_id) for s in servers), return_exceptions=True)
        known: dict[JobState, InferenceServer] = {}
        unreachable: set[str] = set()
        for server, answer in zip(servers, answers, strict=True):
            if isinstance(answer, JobState):
                known.setdefault(answer, server)
            elif isinstance(answer, InferenceError):
                unreachable.add(server.url)
            else:
                raise answer
        furthest = next((known[state] for state in STATES_BY_PREFERENCE if state in known), None)
        return JobLookup(furthest, unreachable)

    def expected(self) -> set[str]:
        """The addresses of the servers that a job may wait for."""
        return {server.url for server in self.all.values() if server.is_expected}

    def incompatible(self) -> list[str]:
        """The addresses of the servers that are incompatible with `checked_workflow`."""
        return [server.url for server in self.all.values() if server.problems]

    def record_drawn_elsewhere(
        self, drew: InferenceServer, failed_servers: Iterable[str], failed_at: float
    ) -> None:
        """A job was drawn that failed before. If it failed at a single other server, it counts there."""
        failed = set(failed_servers)
        if len(failed) == 1 and drew.url not in failed:
            for server in self.all.values():
                if server.url in failed:
                    server.record_drawn_elsewhere(failed_at)

    def has_other_reachable(self, server: InferenceServer) -> bool:
        return any(other.is_reachable for other in self.all.values() if other is not server)


@asynccontextmanager
async def open_server_pool(
    urls: Iterable[str], limits: ClientLimits, dispatch: DispatchLimits
) -> AsyncIterator[ServerPool]:
    servers = ServerPool(lambda url: ComfyUI(url, limits=limits), dispatch, urls)
    try:
        await servers.update(servers.configured)
        yield servers
    finally:
        await servers.close()
