"""The drawing room: each job in hand is a task of its own, which ends with the log knowing how the drawing ended."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from uuid import UUID

import structlog

from huajuan.domain.image import Image
from huajuan.domain.refusals import AlreadyTold
from huajuan.event_store.errors import LogError
from huajuan.event_store.request_context import calling
from huajuan.event_store.store import EventStore
from huajuan.inference_client import (
    Cancelled,
    DrawingFailed,
    Drawn,
    InferenceError,
    Rejected,
    ServerUnavailable,
    TookTooLong,
)
from huajuan.jobs.background import Errands
from huajuan.jobs.cleanup import Closing
from huajuan.jobs.completions import Endings
from huajuan.jobs.limits import DispatchLimits
from huajuan.jobs.outcome_metrics import CANCELLED, DRAWN, CountOutcome, count_nothing, outcome_of
from huajuan.jobs.outcomes import OWNER_GONE, tell_drawn, tell_failed, tell_started
from huajuan.jobs.queue import Claimed, JobQueue
from huajuan.jobs.retry_policy import (
    avoided_seconds,
    is_servers_failure,
    is_worth_another_try,
    judge,
    leads_nowhere,
    may_come_back,
    may_have_begun,
)
from huajuan.jobs.running_job import JobInHand
from huajuan.jobs.server_cleanup import forget_stopped, stop
from huajuan.jobs.servers import Painter, Painters
from huajuan.jobs.store_picture import keep_when_possible
from huajuan.jobs.workflows import Workflows, drawing_of
from huajuan.observability.health import Problem
from huajuan.runtime.cancel_tasks import end
from huajuan.runtime.fail_points import at
from huajuan.storage.pictures import Pictures, StoreAway, key_of

TOO_LONG = "the picture took too long"
NOT_MADE = "the picture could not be made"
LOST = "the painters lost the job too often"
_logger = structlog.get_logger(__name__)


class DrawingRoom:
    """A client that goes away does not end a job: the task is the room's."""

    def __init__(
        self,
        store: EventStore,
        queue: JobQueue,
        painters: Painters,
        pictures: Pictures,
        limits: DispatchLimits,
        workflows: Workflows,
        checkpoint: str = "",
    ) -> None:
        self.store, self.queue = store, queue
        self.painters = painters
        self.limits = limits
        self.workflows = workflows
        self.endings = Endings(store, limits.wait_poll_seconds)
        self.pictures = pictures
        self.checkpoint = checkpoint or None
        self._jobs: dict[UUID, JobInHand] = {}
        self._errands = Errands()
        # Metrics replace it.
        self.count_outcome: CountOutcome = count_nothing
        self.closing = Closing(store, queue, pictures, painters, self.endings, self._errands, limits)

    def take(self, claimed: Claimed, painter: Painter) -> "asyncio.Task[None]":
        """A job that was just claimed for this painter."""
        job = self._jobs.get(claimed.image_id)
        if job and not job.is_put_back:  # the lease had lapsed while we held it, or the job has ended unheard
            self._errands.begin(self._stop_if_ended(job), f"look at {job.image_id}")
        else:
            job = self._jobs[claimed.image_id] = JobInHand(claimed, painter)
            job.task = asyncio.create_task(self._draw_and_tell(job), name=f"draw {job.image_id}")
            job.task.add_done_callback(lambda task: self._forget(job, task))
        return job.task

    async def give_up(self, claimed: Claimed, reason: str) -> None:
        """A job in nobody's hand which is not to be drawn any more."""
        with calling(correlation_id=claimed.correlation_id):
            if (image := await self._asked_for(claimed)) is not None:
                await self._tell_failed(image, reason)

    def stop(self, image_id: UUID) -> None:
        """The job has ended, told of by somebody else: whoever draws it may do something better."""
        job = self._jobs.get(image_id)
        if job and not job.is_told:
            self._errands.begin(self._stop(job), f"stop {image_id}")

    def problems(self) -> Iterator[Problem]:
        """For readiness: no server has answered for a while."""
        if self.painters.nobody_answers_for() >= self.limits.nothing_draws_seconds:
            yield Problem("nothing_draws", self.painters.why_nothing_draws(), blocking=False)

    def has_job_at(self, painter: Painter) -> bool:
        return any(job.painter is painter for job in self._jobs.values())

    async def keep_leases(self) -> None:
        """For ever: renew the leases of the jobs in hand, and let go of those that somebody else has taken."""
        while True:
            await asyncio.sleep(self.limits.heartbeat_seconds)
            if held := dict(self._jobs):
                try:
                    ours = await self.queue.renew({job.image_id: job.progress for job in held.values()})
                    self._let_go([job for job in held.values() if job.image_id not in ours])
                except LogError as error:
                    _logger.warning("leases not renewed", error=type(error).__name__)

    async def close(self) -> None:
        """Leave the open jobs to whoever comes next; the painters go on drawing them."""
        await end([*self._errands.tasks, *(job.task for job in self._jobs.values())])
        try:
            await self.queue.let_go()
        except LogError as error:
            _logger.warning("leases left to lapse", error=type(error).__name__)

    def _let_go(self, lost: list[JobInHand]) -> None:
        for job in lost:
            # One that was put back while we asked may have been claimed here again since.
            if self._jobs.get(job.image_id) is job and not (job.is_told or job.is_put_back):
                _logger.warning("job taken by another process", image_id=str(job.image_id))
                self.stop(job.image_id)

    def _forget(self, job: JobInHand, task: "asyncio.Task[None]") -> None:
        if self._jobs.get(job.image_id) is job:
            del self._jobs[job.image_id]
        if not task.cancelled() and (error := task.exception()):
            # The lease lapses, and the job is finished by whoever takes it.
            trace = None if isinstance(error, StoreAway) else error
            _logger.error(
                "job left open", image_id=str(job.image_id), error=type(error).__name__, exc_info=trace
            )

    async def _stop_if_ended(self, job: JobInHand) -> None:
        image = await self.store.find(Image, job.image_id)
        if image and not image.is_open:
            self.stop(job.image_id)

    async def _stop(self, job: JobInHand) -> None:
        await end([job.task])
        await self._clear_stopped(job)

    async def _clear_stopped(self, job: JobInHand) -> None:
        image = await self.store.find(Image, job.image_id)
        if image is None or image.is_open:  # then another process goes on with it
            return
        self._count(job, CANCELLED)
        await stop(job.painter, image.id, self.limits.stop_seconds_max)
        at("stop.asked")
        await self.closing.clear_up(image.id, image.picture)
        await forget_stopped(job.painter, image.id, self.limits.stop_seconds_max)

    async def _draw_and_tell(self, job: JobInHand) -> None:
        with calling(correlation_id=job.claimed.correlation_id):
            image = await self._asked_for(job.claimed)
            if image is None:
                return
            job.was_begun = image.attempts > 0
            try:
                made = await self._within_deadline(job, image)
            except AlreadyTold:
                await self._clear_stopped(job)
            except InferenceError as failure:
                await self._not_drawn(job, failure)
            except LogError:  # which says nothing of the job: it is left for whoever takes the lapsed lease
                raise
            except Exception as failure:
                _logger.error("not drawn", image_id=str(image.id), exc_info=failure)
                await self._tell_failed(image, NOT_MADE, job)
            else:
                at("draw.drawn")
                job.painter.proved()
                self._count(job, DRAWN)
                await self._keep_and_tell(job, image, made)

    async def _asked_for(self, claimed: Claimed) -> Image | None:
        """The image, if it still is to be drawn. A request may be on its way to the log for a while."""
        image = await self.store.find(Image, claimed.image_id)
        if image is None and claimed.age_seconds < self.limits.unasked_seconds_max:
            await self.queue.put_back(claimed.image_id, pause_seconds=self.limits.unasked_pause_seconds)
        elif image is None or not image.is_open:
            await self.closing.clear_up(claimed.image_id, image.picture if image else None)
        else:
            return image
        return None

    async def _within_deadline(self, job: JobInHand, image: Image) -> Drawn:
        seconds = (image.deadline - self.store.clock()).total_seconds()
        try:
            async with asyncio.timeout(max(0.0, seconds)) as deadline:
                return await self._drawn(job, image)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            await stop(job.painter, image.id, self.limits.stop_seconds_max)
            raise TookTooLong(TOO_LONG) from error

    async def _drawn(self, job: JobInHand, image: Image) -> Drawn:
        """What may have been sent before is looked for first, everywhere."""
        if image.prompt is None:
            raise Cancelled(OWNER_GONE)
        drawing = drawing_of(image, await self.workflows.find(image.workflow), self.checkpoint)
        if job.may_be_known or not job.painter.is_proven:
            looked = await self.painters.look_for(image.id)
            at("draw.looked")
            if looked.known_by:
                job.found_at(looked.known_by)
                if not image.attempts:
                    await self._started(job)
                return await job.painter.host.finish(drawing, job.progressed)
            if job.painter.url in looked.silent:
                raise ServerUnavailable("the painter does not answer")
            if image.attempts >= self.limits.attempts_max:
                raise DrawingFailed(LOST)
        job.sent()
        made = await job.painter.host.draw(drawing, job.progressed, partial(self._started, job))
        if not job.is_started:
            await self._started(job)
        return made

    async def _started(self, job: JobInHand) -> None:
        """A server has accepted it. Raises `AlreadyTold` where it has ended meanwhile."""
        await tell_started(self.store, job.image_id)
        job.is_started = True
        at("draw.started")

    async def _not_drawn(self, job: JobInHand, failure: InferenceError) -> None:
        """Tried again, here or elsewhere, where that may help; else the points go back."""
        if job.is_sent and not job.is_started and may_have_begun(failure):
            with suppress(AlreadyTold):
                await self._started(job)
        if (image := await self._asked_for(job.claimed)) is None:
            return
        self._judge(job, image, failure)
        if is_worth_another_try(image, failure, self.store.clock(), self.limits, self._left(job, failure)):
            await self._put_back(job, failure)
        else:
            self._log("not drawn", job, failure)
            await self._tell_failed(image, failure.reason, job)

    def _judge(self, job: JobInHand, image: Image, failure: InferenceError) -> None:
        if job.was_at_server or not isinstance(failure, DrawingFailed):
            judge(job.painter, failure, image)
            self._count(job, outcome_of(failure))
        if job.was_at_server and is_servers_failure(failure) and {*job.claimed.failed} - {job.painter.url}:
            for painter in self.painters.all.values():
                painter.failed_elsewhere_too(image.id)
        if leads_nowhere(
            failure, is_second_look=job.is_second_look and self.painters.others_answer(job.painter)
        ):
            job.painter.give_up(image.id)

    def _left(self, job: JobInHand, failure: InferenceError) -> int:
        """How many servers may still have it: they neither refused it nor would fail in it again."""
        excluded = set(job.claimed.excluded)
        if not may_come_back(failure):
            excluded.add(job.painter.url)
        return len(self.painters.awaited() - excluded)

    async def _put_back(self, job: JobInHand, failure: InferenceError) -> None:
        self._log("drawing put back", job, failure)
        url, is_refusal = job.painter.url, isinstance(failure, Rejected)
        job.is_put_back = True  # before it is: a dispatcher here may have it again at once
        await self.queue.put_back(
            job.image_id,
            avoid=url,
            avoid_seconds=avoided_seconds(job.painter, self.limits),
            excluded=None if may_come_back(failure) else url,
            failed=None if is_refusal else url,
        )
        at("draw.put_back")

    def _log(self, event: str, job: JobInHand, failure: InferenceError) -> None:
        _logger.warning(
            event,
            image_id=str(job.image_id),
            host=job.painter.url,
            reason=failure.reason,
            detail=failure.detail,
        )

    def _count(self, job: JobInHand, outcome: str) -> None:
        if job.was_at_server:
            self.count_outcome(job.painter.url, outcome, job.seconds)

    async def _keep_and_tell(self, job: JobInHand, image: Image, made: Drawn) -> None:
        job.is_told = True  # from here on it is not stopped: a file might come to be after it was removed
        try:
            seconds = min(
                self.limits.store_seconds_max, (image.deadline - self.store.clock()).total_seconds()
            )
            kept = await keep_when_possible(self.pictures, image, made, seconds)
        except Exception as failure:
            _logger.error("picture not stored", image_id=str(image.id), exc_info=failure)
            await self._tell_failed(image, NOT_MADE, job)
            return
        at("draw.stored")
        ending = await tell_drawn(self.store, image, key_of(image.id), kept)
        at("tell.appended")
        if job.failed_at is not None and ending.picture:
            self.painters.another_drew(job.painter, job.claimed.failed, job.failed_at)
        await self.closing.close(image, ending, job)

    async def _tell_failed(self, image: Image, reason: str, job: JobInHand | None = None) -> None:
        if job:
            job.is_told = True
        ending = await tell_failed(self.store, image, reason)
        at("fail.appended")
        await self.closing.close(image, ending, job)
