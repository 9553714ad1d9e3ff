"""The painters: servers that draw, each with how it has been doing. Health is progress, not an answer to a question."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import NamedTuple, Protocol
from uuid import UUID

import structlog

from huajuan.dispatch.limits import DispatchLimits
from huajuan.domain.painter_address import one_of_each
from huajuan.inference_client import ComfyUI, Drawing, Drawn, Graph, InferenceError, JobState, Limits

GIVEN_UP_MAX = 1000
_logger = structlog.get_logger(__name__)
OnProgress = Callable[[float], None]


class Host(Protocol):
    """What a server that draws can do: see `inference_client`."""

    async def draw(self, drawing: Drawing, on_progress: OnProgress | None = None) -> Drawn: ...
    async def finish(self, drawing: Drawing, on_progress: OnProgress | None = None) -> Drawn: ...
    async def find(self, prompt_id: UUID) -> JobState: ...
    async def cancel(self, prompt_id: UUID) -> None: ...
    async def forget(self, prompt_id: UUID) -> None: ...
    async def check(self) -> object: ...
    async def misfits(self, workflow: Graph) -> list[str]: ...


class Painter:
    """One server. After a failure it rests, each time for longer, and then gets one job to prove itself with."""

    def __init__(self, url: str, host: Host, limits: DispatchLimits) -> None:
        self.url = url
        self.host = host
        # Not known before it was asked.
        self.answers: bool | None = None
        self.has_drawn = False
        # What of the workflow does not fit it; not known before it was tried.
        self.problems: list[str] | None = None
        self._limits = limits
        self._failures = 0
        self._rests_until = 0.0
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
        return max(0.0, self._rests_until - asyncio.get_running_loop().time())

    def proved(self) -> None:
        self._failures, self.answers, self.has_drawn = 0, True, True

    def failed(self, why: InferenceError, *, answers: bool) -> None:
        limits = self._limits
        longest = limits.rest_seconds_max if answers else limits.silent_rest_seconds_max
        seconds = min(longest, limits.rest_seconds_min * 2 ** min(self._failures, 30))
        self._failures += 1
        self.answers = answers
        self._rests_until = asyncio.get_running_loop().time() + seconds
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
            except InferenceError as error:
                self.failed(error, answers=False)
        return bool(self.answers)


FURTHEST_FIRST = (
    JobState.SUCCEEDED, JobState.RUNNING, JobState.QUEUED, JobState.FAILED, JobState.CANCELLED,
)  # fmt: skip


class Looked(NamedTuple):
    """Which painter knows a job, if any does, and which could not say."""

    known_by: Painter | None
    silent: set[str]


OpenHost = Callable[[str], AbstractAsyncContextManager[Host]]


class Painters:
    """Use as made by `open_painters`. `configured` are the addresses in the settings.

    `have_come` is set when there are new ones.
    """

    def __init__(self, open_host: OpenHost, limits: DispatchLimits, configured: Iterable[str]) -> None:
        self.all: dict[str, Painter] = {}
        self.have_come = asyncio.Event()
        self.configured = one_of_each(configured)
        self._open_host = open_host
        self._limits = limits
        self._open = AsyncExitStack()
        self._unanswered_since: float | None = None

    async def become(self, urls: Iterable[str]) -> None:
        """Those that are new may get jobs from now on, those that are gone get none any more."""
        wanted = list(urls)
        for url in [url for url in wanted if url not in self.all]:
            host = await self._open.enter_async_context(self._open_host(url))
            self.all[url] = Painter(url, host, self._limits)
            self.have_come.set()
        for url in self.all.keys() - wanted:
            del self.all[url]

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
