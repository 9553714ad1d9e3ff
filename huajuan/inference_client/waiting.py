"""Wait until a job has ended: looks at growing intervals are the truth, the socket only hastens them."""

import asyncio
from collections.abc import Callable
from uuid import UUID

from huajuan.inference_client.cancelling import Canceller
from huajuan.inference_client.errors import Cancelled, JobLost, OutcomeUnknown, TookTooLong
from huajuan.inference_client.jobs import Jobs, JobState
from huajuan.inference_client.limits import Limits
from huajuan.inference_client.listener import Listener
from huajuan.inference_client.transport import Trouble
from huajuan.inference_client.watches import Clock, Watch, Watches

OnProgress = Callable[[float], None]
POLL_GROWTH = 1.5


class Lasting:
    """For how many seconds a condition has held without a break."""

    def __init__(self) -> None:
        self._since: float | None = None

    def seconds(self, holds: bool, now: float) -> float:
        if not holds:
            self._since = None
            return 0.0
        self._since = now if self._since is None else self._since
        return now - self._since


class Waiting:
    """The wait for one job, known to the server or believed to be."""

    def __init__(
        self,
        prompt_id: UUID,
        *,
        jobs: Jobs,
        canceller: Canceller,
        listener: Listener,
        watch: Watch,
        watches: Watches,
        limits: Limits,
        clock: Clock,
        on_progress: OnProgress | None,
    ) -> None:
        self._prompt_id = prompt_id
        self._jobs, self._canceller, self._listener = jobs, canceller, listener
        self._watch, self._limits, self._clock, self._on_progress = watch, limits, clock, on_progress
        self._watches, self._remaining = watches, 0
        self._started = self._moved_at = clock()
        self._unreachable, self._missing, self._running = Lasting(), Lasting(), Lasting()
        self._pause_seconds = limits.poll_seconds_min
        self._reported = 0.0
        self._renewals = 0

    async def until_ended(self) -> JobState:
        """The last state. Raises JobLost, Cancelled, TookTooLong or OutcomeUnknown."""
        while True:
            state = await self._look()
            if state is not None and state.has_ended:
                return state
            self._judge(state)
            if state is JobState.QUEUED:
                await self._look_at_queue()
            if self._is_out_of_time(state):
                return await self._give_up(is_blocked=self._is_blocked(state))
            await self._pause()

    async def _look(self) -> JobState | None:
        """None when the server gives no clear answer."""
        self._watch.may_have_ended = False
        try:
            return await self._jobs.find(self._prompt_id)
        except Trouble as trouble:
            self._trouble = str(trouble)
            return None

    async def _look_at_queue(self) -> None:
        """Whether it moves: behind a dead worker a job waits for ever, and nothing else says so."""
        try:
            remaining = await self._jobs.remaining()
        except Trouble as trouble:
            self._trouble = str(trouble)
            return
        if remaining < self._remaining:
            self._moved_at = self._clock()
        self._remaining = remaining

    def _judge(self, state: JobState | None) -> None:
        now = self._clock()
        if self._unreachable.seconds(state is None, now) > self._limits.unreachable_seconds_max:
            raise OutcomeUnknown("the server no longer answers", self._trouble)
        if self._missing.seconds(state is JobState.UNKNOWN, now) > self._lost_seconds_max():
            raise self._gone()
        if state is JobState.UNKNOWN:
            self._pause_seconds = self._limits.poll_seconds_min

    def _lost_seconds_max(self) -> float:
        """A job removed on our request is expected to be unknown: one more look is enough."""
        return 0.0 if self._watch.cancel_asked else self._limits.lost_seconds_max

    def _gone(self) -> Cancelled | JobLost:
        # A job removed from the queue leaves no trace: only we can know that it was on purpose.
        if self._watch.cancel_asked:
            return Cancelled("the job was stopped")
        return JobLost("the server lost the job")

    def _is_out_of_time(self, state: JobState | None) -> bool:
        now = self._clock()
        quiet = self._quiet_seconds(self._running.seconds(state is JobState.RUNNING, now), now)
        too_quiet = quiet > self._limits.seconds_without_progress_max
        return too_quiet or self._is_blocked(state) or now - self._started > self._limits.job_seconds_max

    def _is_blocked(self, state: JobState | None) -> bool:
        """It waits, and nothing that the server has goes on."""
        quiet = self._clock() - max(self._moved_at, self._watches.progressed_at)
        return state is JobState.QUEUED and quiet > self._limits.seconds_without_progress_max

    def _quiet_seconds(self, running: float, now: float) -> float:
        progressed = self._watch.progressed_at
        return running if progressed is None else min(running, now - progressed)

    async def _give_up(self, *, is_blocked: bool) -> JobState:
        """Stop the job, and see whether that helps: a job past its last checkpoint still ends well."""
        await self._ask_to_stop()
        until = self._clock() + self._limits.cancel_seconds_max
        state = await self._look()
        while not _is_over(state) and self._clock() < until:
            await asyncio.sleep(self._limits.poll_seconds_min)
            state = await self._look()
        return self._verdict(state, is_blocked)

    def _verdict(self, state: JobState | None, is_blocked: bool) -> JobState:
        if state is JobState.SUCCEEDED:
            return state
        if state is None:
            raise OutcomeUnknown("the server no longer answers", self._trouble)
        is_stuck = is_blocked or not _is_over(state)
        raise TookTooLong("the picture took too long", state.value, worker_stuck=is_stuck)

    async def _ask_to_stop(self) -> None:
        try:
            await self._canceller.cancel(self._prompt_id)
        except Trouble as trouble:
            self._trouble = str(trouble)

    async def _pause(self) -> None:
        self._renew_silent_socket()
        until = self._clock() + self._pause_seconds
        while not self._watch.may_have_ended and (left := until - self._clock()) > 0:
            await self._stirred(left)
            self._report()
        self._lengthen_pause()

    def _lengthen_pause(self) -> None:
        if self._watch.may_have_ended:
            self._pause_seconds = self._limits.poll_seconds_min
        self._pause_seconds = min(self._limits.poll_seconds_max, self._pause_seconds * POLL_GROWTH)

    async def _stirred(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._watch.stirred.wait()
        except TimeoutError:
            return
        self._watch.stirred.clear()

    def _report(self) -> None:
        if self._on_progress is not None and self._watch.progress > self._reported:
            self._reported = self._watch.progress
            self._on_progress(self._reported)

    def _renew_silent_socket(self) -> None:
        # A socket can be deaf and still answer pings, so silence during a run is the only sign.
        now = self._clock()
        heard = self._watch.heard_at if self._watch.heard_at is not None else self._started
        is_silent = now - heard > self._limits.socket_silent_seconds_max * (self._renewals + 1)
        if is_silent and self._renewals < self._limits.socket_renewals_max:
            self._renewals += 1
            self._listener.renew()


def _is_over(state: JobState | None) -> bool:
    return state is JobState.UNKNOWN or (state is not None and state.has_ended)
