"""The painters: servers that draw, each with how it has been doing. Health is progress, not an answer to a question."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from enum import StrEnum
from typing import NamedTuple, Protocol
from uuid import UUID

import structlog

from huajuan.domain.server_address import one_of_each, without_credentials
from huajuan.inference_client import (
    ComfyUI,
    Drawing,
    DrawingFailed,
    Drawn,
    Graph,
    InferenceError,
    JobState,
    Limits,
)
from huajuan.jobs.circuit_breaker import CircuitBreaker
from huajuan.jobs.limits import DispatchLimits

GIVEN_UP_MAX = 1000
SERVERS_SHOWN_MAX = 5
_logger = structlog.get_logger(__name__)
OnProgress = Callable[[float], None]


OnAccepted = Callable[[], Awaitable[None]]


class ServerState(StrEnum):
    """Whether a server may get jobs, as far as this process knows."""

    READY = "ready"
    COOLDOWN = "cooldown"
    UNREACHABLE = "unreachable"
    UNFIT = "unfit"


class Host(Protocol):
    """What a server that draws can do: see `inference_client`."""

    async def draw(
        self,
        drawing: Drawing,
        on_progress: OnProgress | None = None,
        on_accepted: OnAccepted | None = None,
    ) -> Drawn: ...
    async def finish(self, drawing: Drawing, on_progress: OnProgress | None = None) -> Drawn: ...
    async def find(self, prompt_id: UUID) -> JobState: ...
    async def cancel(self, prompt_id: UUID) -> None: ...
    async def forget(self, prompt_id: UUID) -> None: ...
    async def check(self) -> object: ...
    async def misfits(self, workflow: Graph) -> list[str]: ...


class Painter:
    """One server. After a failure it rests, each time for longer, and then gets one job to prove itself with.

    `url` has no credentials: it names the server in the queue, the log, metrics and replies.
    """

    def __init__(self, url: str, host: Host, limits: DispatchLimits) -> None:
        self.url = url
        self.host = host
        # Not known before it was asked.
        self.answers: bool | None = None
        self.has_drawn = False
        # What of the workflow does not fit it; not known before it was tried.
        self.problems: list[str] | None = None
        self._limits = limits
        self._circuit = CircuitBreaker(limits)
        self._trouble: InferenceError | None = None
        self._refusal: InferenceError | None = None
        self._answered_at = 0.0
        self._lost_at = float("-inf")
        self._given_up: OrderedDict[UUID, None] = OrderedDict()

    @property
    def is_proven(self) -> bool:
        return not self._failures

    @property
    def jobs_max(self) -> int:
        return self._limits.jobs_of_host_max if self.is_proven else 1

    @property
    def rest_seconds(self) -> float:
        """For how long it is still to be left alone."""
        return self._circuit.cooldown_seconds

    @property
    def _failures(self) -> int:
        return self._circuit.failures

    @property
    def state(self) -> ServerState:
        if self.answers is False:
            return ServerState.UNREACHABLE
        if not self.is_proven:
            return ServerState.COOLDOWN
        return ServerState.UNFIT if self.problems or self._refusal else ServerState.READY

    @property
    def reason(self) -> str | None:
        """Why it is not ready, for admins."""
        state = self.state
        if state is ServerState.READY:
            return None
        if state is ServerState.UNFIT and self.problems:
            return self.problems[0]
        why = self._refusal if state is ServerState.UNFIT else self._trouble
        return why.reason if why else None

    @property
    def is_awaited(self) -> bool:
        """Whether a job that no other server can draw waits for it: it answers, or did so a moment ago."""
        lost_seconds = asyncio.get_running_loop().time() - self._lost_at
        return self.answers is not False or lost_seconds < self._limits.nobody_seconds_max

    @property
    def trouble(self) -> str:
        """Its last failure in short, without what the server said of it."""
        return self._trouble.reason if self._trouble else "it does not answer"

    def proved(self) -> None:
        self._circuit.record_success()
        self.answers, self.has_drawn, self._refusal = True, True, None
        self._answered_at = asyncio.get_running_loop().time()

    def failed(self, why: InferenceError, *, answers: bool) -> None:
        limits = self._limits
        longest = limits.rest_seconds_max if answers else limits.silent_rest_seconds_max
        seconds = self._circuit.open(longest)
        if self.answers and not answers:
            self._lost_at = asyncio.get_running_loop().time()
        self.answers = answers
        self._log_cooldown(seconds, why)

    def doubted(self, why: InferenceError) -> None:
        """It lost a job or hangs in one: its next jobs come one at a time until one succeeds."""
        self._circuit.half_open()
        self.answers = True
        self._log_cooldown(self._limits.rest_seconds_min, why)

    def record_problems(self, problems: list[str]) -> None:
        """What of the workflow does not fit it now."""
        self.problems = problems
        if not problems:
            self._refusal = None

    def refused(self, why: InferenceError) -> None:
        """It refused a workflow, which is no failure."""
        self.answers, self._refusal = True, why

    def failed_in(self, image_id: UUID, account_id: UUID | None, why: InferenceError) -> None:
        """A job failed here. Jobs of different accounts in a row open the circuit."""
        self._trouble = why
        if self._circuit.record_failure(image_id, account_id):
            self._log_cooldown(self.rest_seconds, why)

    def drawn_elsewhere(self, failed_at: float) -> None:
        """Another server drew a job that failed here, and only here."""
        if self._circuit.counts(failed_at):
            why = self._trouble or DrawingFailed("a job failed here that another server drew")
            self.failed(why, answers=self.answers is not False)

    def failed_elsewhere_too(self, image_id: UUID) -> None:
        self._circuit.acquit(image_id)

    def _log_cooldown(self, seconds: float, why: InferenceError) -> None:
        self._trouble = why
        _logger.warning("painter rests", host=self.url, seconds=seconds, reason=why.reason, detail=why.detail)

    def give_up(self, image_id: UUID) -> None:
        """What it has of this job leads nowhere: it is not asked for it again."""
        self._given_up[image_id] = None
        while len(self._given_up) > GIVEN_UP_MAX:
            self._given_up.popitem(last=False)

    def has_given_up(self, image_id: UUID) -> bool:
        return image_id in self._given_up

    async def is_there(self) -> bool:
        """One that did not answer, or was never asked, is asked before it gets a job."""
        if not self.answers:
            try:
                await self.host.check()
                self.answers = True
                self._answered_at = asyncio.get_running_loop().time()
            except InferenceError as error:
                self.failed(error, answers=False)
        return bool(self.answers)

    async def check_again(self) -> None:
        """For one that has no job: a server that went away shows before a job is sent to it."""
        silent_seconds = asyncio.get_running_loop().time() - self._answered_at
        if self.answers and silent_seconds > self._limits.server_check_seconds:
            try:
                await self.host.check()
                self._answered_at = asyncio.get_running_loop().time()
            except InferenceError as error:
                self.failed(error, answers=False)


FURTHEST_FIRST = (
    JobState.SUCCEEDED, JobState.RUNNING, JobState.QUEUED, JobState.FAILED, JobState.CANCELLED,
)  # fmt: skip


class Looked(NamedTuple):
    """Which painter knows a job, if any does, and which could not say."""

    known_by: Painter | None
    silent: set[str]


OpenHost = Callable[[str], AbstractAsyncContextManager[Host]]


class Painters:
    """Use as made by `open_painters`. `configured` are the addresses in the settings, with their credentials;
    `all` has each server by its address without them. `checked_workflow` is the one that their problems refer to.

    `have_come` is set when there are new ones.
    """

    def __init__(self, open_host: OpenHost, limits: DispatchLimits, configured: Iterable[str]) -> None:
        self.all: dict[str, Painter] = {}
        self.have_come = asyncio.Event()
        self.configured = one_of_each(configured)
        self._open_host = open_host
        self._limits = limits
        self.checked_workflow: str | None = None
        self._open = AsyncExitStack()
        self._unanswered_since: float | None = None

    async def become(self, urls: Iterable[str]) -> None:
        """Those that are new may get jobs from now on, those that are gone get none any more."""
        wanted = {without_credentials(url): url for url in urls}
        for name in [name for name in wanted if name not in self.all]:
            host = await self._open.enter_async_context(self._open_host(wanted[name]))
            self.all[name] = Painter(name, host, self._limits)
            self.have_come.set()
        for name in self.all.keys() - wanted.keys():
            del self.all[name]

    async def close(self) -> None:
        await self._open.aclose()

    def __len__(self) -> int:
        """How many can draw, as far as is known."""
        return sum(painter.answers is not False for painter in self.all.values())

    def nobody_answers_for(self) -> float:
        """For how many seconds no painter has answered; 0 while one does."""
        now = asyncio.get_running_loop().time()
        if len(self):
            self._unanswered_since = None
        elif self._unanswered_since is None:
            self._unanswered_since = now
        return 0.0 if self._unanswered_since is None else now - self._unanswered_since

    def why_nothing_draws(self) -> str:
        """One sentence, for operators."""
        if not self.all:
            return "No inference server is left: an admin has removed all of them."
        shown = [f"{p.url}: {p.trouble}" for p in list(self.all.values())[:SERVERS_SHOWN_MAX]]
        more = f"; and {len(self.all) - len(shown)} more" if len(self.all) > len(shown) else ""
        return f"No inference server answers: {'; '.join(shown)}{more}."

    async def look_for(self, image_id: UUID) -> Looked:
        """Asks all of them at once; of several that know it, the one that is furthest."""
        painters = [painter for painter in self.all.values() if not painter.has_given_up(image_id)]
        answers = await asyncio.gather(*(p.host.find(image_id) for p in painters), return_exceptions=True)
        known: dict[JobState, Painter] = {}
        silent: set[str] = set()
        for painter, answer in zip(painters, answers, strict=True):
            if isinstance(answer, JobState):
                known.setdefault(answer, painter)
            elif isinstance(answer, InferenceError):
                silent.add(painter.url)
            else:
                raise answer
        return Looked(next((known[state] for state in FURTHEST_FIRST if state in known), None), silent)

    def awaited(self) -> set[str]:
        """The addresses of those that a job may wait for, as far as is known."""
        return {painter.url for painter in self.all.values() if painter.is_awaited}

    def lacking(self) -> list[str]:
        """The addresses of those that lack something that the workflow `checked_workflow` needs."""
        return [painter.url for painter in self.all.values() if painter.problems]

    def another_drew(self, drew: Painter, failed_at_servers: Iterable[str], failed_at: float) -> None:
        """A job was drawn that had failed before: at one other server alone, it counts against that one."""
        where = set(failed_at_servers)
        if len(where) == 1 and drew.url not in where:
            for painter in self.all.values():
                if painter.url in where:
                    painter.drawn_elsewhere(failed_at)

    def others_answer(self, painter: Painter) -> bool:
        return any(other.answers for other in self.all.values() if other is not painter)


@asynccontextmanager
async def open_painters(
    urls: Iterable[str], limits: Limits, dispatch: DispatchLimits
) -> AsyncIterator[Painters]:
    painters = Painters(lambda url: ComfyUI(url, limits=limits), dispatch, urls)
    try:
        await painters.become(painters.configured)
        yield painters
    finally:
        await painters.close()
