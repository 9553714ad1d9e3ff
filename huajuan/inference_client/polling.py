"""Waits for the end of a job by polling at growing intervals. Socket events only trigger an earlier poll."""

import asyncio
from collections.abc import Callable
from uuid import UUID

from huajuan.inference_client.errors import JobCancelled, JobLost, JobTimeout, OutcomeUnknown
from huajuan.inference_client.jobs import Jobs, JobState
from huajuan.inference_client.models import ClientLimits, Clock
from huajuan.inference_client.socket import JobWatch, JobWatches, SocketListener
from huajuan.inference_client.transport import TransportError

OnProgress = Callable[[float], None]
POLL_GROWTH = 1.5


class ConditionTimer:
    """For how many seconds a condition has held without interruption."""

    def __init__(self) -> None:
        self._since: float | None = None

    def seconds(self, holds: bool, now: float) -> float:
        if not holds:
            self._since = None
            return 0.0
        self._since = now if self._since is None else self._since
        return now - self._since


class JobPoller:
    """Polls one job that the server has, or may have."""

    def __init__(
        self,
        prompt_id: UUID,
        *,
        jobs: Jobs,
        listener: SocketListener,
        watch: JobWatch,
        watches: JobWatches,
        limits: ClientLimits,
        clock: Clock,
        on_progress: OnProgress | None,
    ) -> None:
        self._prompt_id = prompt_id
        self._jobs, self._listener = jobs, listener
        self._watch, self._limits, self._clock, self._on_progress = watch, limits, clock, on_progress
        self._watches, self._remaining = watches, 0
        self._started = self._queue_moved_at = clock()
        self._unreachable, self._missing, self._running = ConditionTimer(), ConditionTimer(), ConditionTimer()
        self._pause_seconds = limits.poll_seconds_min
        self._reported = 0.0
        self._renewals = 0

    async def wait_for_end(self) -> JobState:
        """The final state. Raises `JobLost`, `JobCancelled`, `JobTimeout` or `OutcomeUnknown`."""
        while True:
            state = await self._poll()
            if state is not None and state.has_ended:
                return state
            self._check_lost(state)
            if state is JobState.QUEUED:
                await self._poll_queue()
            if self._is_timed_out(state):
                return await self._cancel(is_blocked=self._is_blocked(state))
            await self._pause()

    async def _poll(self) -> JobState | None:
        """`None` if there is no usable response."""
        self._watch.may_have_ended = False
        try:
            return await self._jobs.find(self._prompt_id)
        except TransportError as error:
            self._last_error = str(error)
            return None

    async def _poll_queue(self) -> None:
        """Note whether the queue moves: a job behind a dead worker stays queued without any error."""
        try:
            remaining = await self._jobs.remaining()
        except TransportError as error:
            self._last_error = str(error)
            return
        if remaining < self._remaining:
            self._queue_moved_at = self._clock()
        self._remaining = remaining

    def _check_lost(self, state: JobState | None) -> None:
        now = self._clock()
        if self._unreachable.seconds(state is None, now) > self._limits.unreachable_seconds_max:
            raise OutcomeUnknown("the server no longer answers", self._last_error)
        # A cancelled job may leave no trace on the server, so one more poll is enough.
        lost_seconds_max = 0.0 if self._watch.is_cancelled else self._limits.lost_seconds_max
        if self._missing.seconds(state is JobState.UNKNOWN, now) > lost_seconds_max:
            if self._watch.is_cancelled:
                raise JobCancelled("the job was stopped")
            raise JobLost("the server lost the job")
        if state is JobState.UNKNOWN:
            self._pause_seconds = self._limits.poll_seconds_min

    def _is_timed_out(self, state: JobState | None) -> bool:
        now = self._clock()
        idle = self._idle_seconds(self._running.seconds(state is JobState.RUNNING, now), now)
        is_idle = idle > self._limits.seconds_without_progress_max
        return is_idle or self._is_blocked(state) or now - self._started > self._limits.job_seconds_max

    def _is_blocked(self, state: JobState | None) -> bool:
        """Whether the job is queued while the server makes no progress with any job."""
        idle = self._clock() - max(self._queue_moved_at, self._watches.progressed_at)
        return state is JobState.QUEUED and idle > self._limits.seconds_without_progress_max

    def _idle_seconds(self, running: float, now: float) -> float:
        progressed = self._watch.progressed_at
        return running if progressed is None else min(running, now - progressed)

    async def _cancel(self, *, is_blocked: bool) -> JobState:
        """Cancel the job and wait for the effect. It may succeed nevertheless. Raises `JobTimeout`."""
        try:
            await self._jobs.cancel(self._prompt_id)
        except TransportError as error:
            self._last_error = str(error)
        until = self._clock() + self._limits.cancel_seconds_max
        state = await self._poll()
        while not _is_over(state) and self._clock() < until:
            await asyncio.sleep(self._limits.poll_seconds_min)
            state = await self._poll()
        if state is JobState.SUCCEEDED:
            return state
        if state is None:
            raise OutcomeUnknown("the server no longer answers", self._last_error)
        is_stuck = is_blocked or not _is_over(state)
        raise JobTimeout("the picture took too long", state.value, worker_stuck=is_stuck)

    async def _pause(self) -> None:
        self._reopen_silent_socket()
        until = self._clock() + self._pause_seconds
        while not self._watch.may_have_ended and (left := until - self._clock()) > 0:
            await self._wait_for_event(left)
            self._report_progress()
        if self._watch.may_have_ended:
            self._pause_seconds = self._limits.poll_seconds_min
        self._pause_seconds = min(self._limits.poll_seconds_max, self._pause_seconds * POLL_GROWTH)

    async def _wait_for_event(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._watch.changed.wait()
        except TimeoutError:
            return
        self._watch.changed.clear()

    def _report_progress(self) -> None:
        if self._on_progress is not None and self._watch.progress > self._reported:
            self._reported = self._watch.progress
            self._on_progress(self._reported)

    def _reopen_silent_socket(self) -> None:
        # A socket that gets no events any more may still answer pings, so only their absence shows it.
        event_at = self._watch.event_at if self._watch.event_at is not None else self._started
        silent_seconds_max = self._limits.socket_silent_seconds_max * (self._renewals + 1)
        if (
            self._clock() - event_at > silent_seconds_max
            and self._renewals < self._limits.socket_renewals_max
        ):
            self._renewals += 1
            self._listener.renew()


def _is_over(state: JobState | None) -> bool:
    return state is JobState.UNKNOWN or (state is not None and state.has_ended)
