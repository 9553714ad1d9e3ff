"""Runs claimed jobs: sends each to a server, stores the picture and records the outcome."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from uuid import UUID

import structlog

from huajuan.domain.image import Image
from huajuan.domain.refusals import ImageAlreadyFinished
from huajuan.event_store.errors import DatabaseFailure
from huajuan.event_store.request_context import with_request_context
from huajuan.event_store.store import EventStore
from huajuan.inference_client import (
    DrawingFailed,
    Drawn,
    InferenceError,
    JobCancelled,
    JobTimeout,
    ServerUnavailable,
    WorkflowRejected,
)
from huajuan.jobs.cleanup import BackgroundTasks, JobCleanup, forget_stopped_job, stop_job
from huajuan.jobs.outcomes import (
    DRAWN,
    OWNER_GONE,
    Completions,
    CountOutcome,
    record_drawn,
    record_failed,
    record_started,
    store_picture,
)
from huajuan.jobs.queue import ClaimedJob, DispatchLimits, JobQueue
from huajuan.jobs.retry_policy import (
    counts_as_attempt,
    is_server_failure,
    may_resume,
    report_failure,
    should_retry,
)
from huajuan.jobs.running_job import RunningJob
from huajuan.jobs.servers import InferenceServer, ServerPool
from huajuan.jobs.workflows import WorkflowStore, drawing_for
from huajuan.runtime.fail_points import at
from huajuan.runtime.health import Problem
from huajuan.runtime.periodic import cancel_tasks
from huajuan.storage.pictures import Pictures, StorageUnavailable, picture_key

# Reasons are stored in events and shown to users, so their wording does not change.
TOO_LONG = "the picture took too long"
NOT_MADE = "the picture could not be made"
LOST = "the painters lost the job too often"
_logger = structlog.get_logger(__name__)


class JobRunner:
    """The jobs that this process runs. A client that disconnects does not end its job."""

    def __init__(
        self,
        store: EventStore,
        queue: JobQueue,
        servers: ServerPool,
        pictures: Pictures,
        limits: DispatchLimits,
        workflows: WorkflowStore,
        checkpoint: str = "",
    ) -> None:
        self.store, self.queue, self.pictures = store, queue, pictures
        self.servers, self.workflows, self.limits = servers, workflows, limits
        self.completions = Completions(store, limits.wait_poll_seconds)
        self.checkpoint = checkpoint or None
        self._jobs: dict[UUID, RunningJob] = {}
        self._background = BackgroundTasks()
        self.count_outcome: CountOutcome | None = None  # set where there are metrics
        self.cleanup = JobCleanup(
            store, queue, pictures, servers, self.completions, self._background, limits.stop_seconds_max
        )

    def start(self, claimed: ClaimedJob, server: InferenceServer) -> "asyncio.Task[None]":
        """Run a job that was just claimed for this server."""
        job = self._jobs.get(claimed.image_id)
        if job and not job.is_requeued:  # our lease had expired, or the job has ended and we missed it
            self._background.start(self._stop_if_ended(job), f"check {job.image_id}")
        else:
            job = self._jobs[claimed.image_id] = RunningJob(claimed, server)
            job.task = asyncio.create_task(self._run(job), name=f"draw {job.image_id}")
            job.task.add_done_callback(lambda task: self._remove(job, task))
        return job.task

    async def fail(self, claimed: ClaimedJob, reason: str) -> None:
        """End a claimed job without running it."""
        with with_request_context(correlation_id=claimed.correlation_id):
            if (image := await self._open_image(claimed)) is not None:
                await self._record_failed(image, reason)

    def stop(self, image_id: UUID) -> None:
        """Stop a job that another process has ended."""
        job = self._jobs.get(image_id)
        if job and not job.is_ending:
            self._background.start(self._stop(job), f"stop {image_id}")

    def problems(self) -> Iterator[Problem]:
        """For readiness: no server has answered for a while."""
        if self.servers.seconds_without_server() >= self.limits.no_server_problem_seconds:
            yield Problem("nothing_draws", self.servers.describe_outage(), blocking=False)

    def has_job_at(self, server: InferenceServer) -> bool:
        return any(job.server is server for job in self._jobs.values())

    async def renew_leases(self) -> None:
        """Renew the leases on the running jobs, and stop those that another process has taken."""
        if jobs := dict(self._jobs):
            ours = await self.queue.renew({job.image_id: job.progress for job in jobs.values()})
            for job in (job for job in jobs.values() if job.image_id not in ours):
                # A job requeued during the renewal may have been claimed here again.
                if self._jobs.get(job.image_id) is job and not (job.is_ending or job.is_requeued):
                    _logger.warning("job taken by another process", image_id=str(job.image_id))
                    self.stop(job.image_id)

    async def close(self) -> None:
        """Release the unfinished jobs to other processes. The servers go on drawing them."""
        await cancel_tasks([*self._background.tasks, *(job.task for job in self._jobs.values())])
        try:
            await self.queue.release_all()
        except DatabaseFailure as error:
            _logger.warning("job leases not released", error=type(error).__name__)

    def _remove(self, job: RunningJob, task: "asyncio.Task[None]") -> None:
        if self._jobs.get(job.image_id) is job:
            del self._jobs[job.image_id]
        if not task.cancelled() and (error := task.exception()):
            # The lease expires, and the next holder finishes the job.
            trace = None if isinstance(error, StorageUnavailable) else error
            _logger.error(
                "job left unfinished", image_id=str(job.image_id), error=type(error).__name__, exc_info=trace
            )

    async def _stop_if_ended(self, job: RunningJob) -> None:
        image = await self.store.find(Image, job.image_id)
        if image and not image.is_open:
            self.stop(job.image_id)

    async def _stop(self, job: RunningJob) -> None:
        await cancel_tasks([job.task])
        await self._clean_up_stopped(job)

    async def _clean_up_stopped(self, job: RunningJob) -> None:
        image = await self.store.find(Image, job.image_id)
        if image is None or image.is_open:  # another process runs it
            return
        self._count(job, JobCancelled.label)
        await stop_job(job.server, image.id, self.limits.stop_seconds_max)
        at("stop.asked")
        await self.cleanup.remove_leftovers(image.id, image.picture)
        await forget_stopped_job(job.server, image.id, self.limits.stop_seconds_max)

    async def _run(self, job: RunningJob) -> None:
        with with_request_context(correlation_id=job.claimed.correlation_id):
            image = await self._open_image(job.claimed)
            if image is None:
                return
            job.was_started_before = image.attempts > 0
            try:
                drawn = await self._draw_until_deadline(job, image)
            except ImageAlreadyFinished:
                await self._clean_up_stopped(job)
            except InferenceError as failure:
                await self._handle_failure(job, failure)
            except DatabaseFailure:  # the lease expires, and the next holder finishes the job
                raise
            except Exception as failure:
                _logger.error("drawing failed", image_id=str(image.id), exc_info=failure)
                await self._record_failed(image, NOT_MADE, job)
            else:
                at("draw.drawn")
                job.server.record_success()
                self._count(job, DRAWN)
                await self._store_and_record(job, image, drawn)

    async def _open_image(self, claimed: ClaimedJob) -> Image | None:
        """The image if it is to be drawn. The row of an unrequested or ended job is put back or deleted."""
        image = await self.store.find(Image, claimed.image_id)
        if image is None and claimed.age_seconds < self.limits.orphan_lease_seconds_max:
            await self.queue.requeue(claimed.image_id, pause_seconds=self.limits.orphan_lease_pause_seconds)
        elif image is None or not image.is_open:
            await self.cleanup.remove_leftovers(claimed.image_id, image.picture if image else None)
        else:
            return image
        return None

    async def _draw_until_deadline(self, job: RunningJob, image: Image) -> Drawn:
        seconds = (image.deadline - self.store.clock()).total_seconds()
        try:
            async with asyncio.timeout(max(0.0, seconds)) as deadline:
                return await self._draw(job, image)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            await stop_job(job.server, image.id, self.limits.stop_seconds_max)
            raise JobTimeout(TOO_LONG) from error

    async def _draw(self, job: RunningJob, image: Image) -> Drawn:
        """Send the job, unless a server has it from an earlier attempt: then wait for that one."""
        if image.prompt is None:
            raise JobCancelled(OWNER_GONE)
        drawing = drawing_for(image, await self.workflows.find(image.workflow), self.checkpoint)
        if job.may_be_known or not job.server.is_circuit_closed:
            lookup = await self.servers.find_job(image.id)
            at("draw.looked")
            if lookup.known_by:
                job.resume_at(lookup.known_by)
                if not image.attempts:
                    await self._record_started(job)
                return await job.server.client.finish(drawing, job.report_progress)
            if job.server.url in lookup.unreachable:
                raise ServerUnavailable("the inference server does not answer")
            if image.attempts >= self.limits.attempts_max:
                raise DrawingFailed(LOST)
        job.mark_sent()
        drawn = await job.server.client.draw(drawing, job.report_progress, partial(self._record_started, job))
        if not job.is_started:
            await self._record_started(job)
        return drawn

    async def _record_started(self, job: RunningJob) -> None:
        """Raises `ImageAlreadyFinished` if the job has ended meanwhile."""
        await record_started(self.store, job.image_id)
        job.is_started = True
        at("draw.started")

    async def _handle_failure(self, job: RunningJob, failure: InferenceError) -> None:
        """Retry the job, here or at another server, or record its failure."""
        if job.seconds is not None and not job.is_started and counts_as_attempt(failure):
            with suppress(ImageAlreadyFinished):
                await self._record_started(job)
        if (image := await self._open_image(job.claimed)) is None:
            return
        self._record_server_failure(job, image, failure)
        if should_retry(image, failure, self.store.clock(), self.limits, self._servers_left(job, failure)):
            await self._requeue(job, failure)
        else:
            self._log("drawing failed", job, failure)
            await self._record_failed(image, failure.reason, job)

    def _record_server_failure(self, job: RunningJob, image: Image, failure: InferenceError) -> None:
        if job.was_at_server or not isinstance(failure, DrawingFailed):
            report_failure(job.server, failure, image)
            self._count(job, failure.label)
        if job.was_at_server and is_server_failure(failure) and {*job.claimed.failed} - {job.server.url}:
            for server in self.servers.all.values():
                server.record_failure_elsewhere(image.id)
        is_given_up = job.is_resumed and self.servers.has_other_reachable(job.server)
        if isinstance(failure, DrawingFailed) or is_given_up:
            job.server.exclude_job(image.id)

    def _servers_left(self, job: RunningJob, failure: InferenceError) -> int:
        """The number of servers that may still draw the job."""
        excluded = set(job.claimed.excluded)
        if not may_resume(failure):
            excluded.add(job.server.url)
        return len(self.servers.expected() - excluded)

    async def _requeue(self, job: RunningJob, failure: InferenceError) -> None:
        self._log("job requeued", job, failure)
        url, is_rejected = job.server.url, isinstance(failure, WorkflowRejected)
        job.is_requeued = True  # set first: a dispatcher of this process may claim the job at once
        await self.queue.requeue(
            job.image_id,
            avoid=url,
            avoid_seconds=max(job.server.cooldown_seconds, self.limits.cooldown_seconds_min),
            excluded=None if may_resume(failure) else url,
            failed=None if is_rejected else url,
        )
        at("draw.put_back")

    def _log(self, event: str, job: RunningJob, failure: InferenceError) -> None:
        job_and_server = {"image_id": str(job.image_id), "server": job.server.url}
        _logger.warning(event, **job_and_server, reason=failure.reason, detail=failure.detail)

    def _count(self, job: RunningJob, outcome: str) -> None:
        if job.was_at_server and self.count_outcome:
            self.count_outcome(job.server.url, outcome, job.seconds)

    async def _store_and_record(self, job: RunningJob, image: Image, drawn: Drawn) -> None:
        job.is_ending = True  # not stopped from here on: the file could be written after its removal
        try:
            until_deadline = (image.deadline - self.store.clock()).total_seconds()
            seconds_max = min(self.limits.store_seconds_max, until_deadline)
            stored = await store_picture(self.pictures, image, drawn, seconds_max)
        except Exception as failure:
            _logger.error("picture not stored", image_id=str(image.id), exc_info=failure)
            await self._record_failed(image, NOT_MADE, job)
            return
        at("draw.stored")
        outcome = await record_drawn(self.store, image, picture_key(image.id), stored)
        at("tell.appended")
        if job.failed_at is not None and outcome.picture:
            self.servers.record_drawn_elsewhere(job.server, job.claimed.failed, job.failed_at)
        await self.cleanup.close(image, outcome, job)

    async def _record_failed(self, image: Image, reason: str, job: RunningJob | None = None) -> None:
        if job:
            job.is_ending = True
        outcome = await record_failed(self.store, image, reason)
        at("fail.appended")
        await self.cleanup.close(image, outcome, job)
