"""Cleanup after a job: waiters are woken, stored files without an event removed, servers cleaned up."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import structlog

from huajuan.domain.image import Image
from huajuan.event_store.store import EventStore, after_commit
from huajuan.inference_client import InferenceError, JobState
from huajuan.jobs.outcomes import Completions, JobOutcome, record_cancelled
from huajuan.jobs.queue import JobQueue
from huajuan.jobs.running_job import RunningJob
from huajuan.jobs.servers import InferenceServer, ServerPool
from huajuan.runtime.fail_points import at
from huajuan.storage.pictures import Pictures, picture_key

POLL_SECONDS = 0.1
UNFINISHED = frozenset({JobState.QUEUED, JobState.RUNNING})
_logger = structlog.get_logger(__name__)


class BackgroundTasks:
    """Tasks without a waiter. An error in one is logged."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: "asyncio.Task[None]") -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _logger.warning("job cleanup failed", task=task.get_name(), error=type(error).__name__)


class JobCleanup:
    """Cancels and closes jobs. A row is deleted last, so that a crash leaves it for the next holder."""

    def __init__(
        self,
        store: EventStore,
        queue: JobQueue,
        pictures: Pictures,
        servers: ServerPool,
        completions: Completions,
        background: BackgroundTasks,
        seconds_max: float,
    ) -> None:
        self._store, self._queue, self._pictures, self._servers = store, queue, pictures, servers
        self._completions, self._background = completions, background
        self._aliases = ServerAliases(servers)
        self._seconds_max = seconds_max

    async def cancel(self, image: Image, reason: str) -> JobOutcome:
        """Record the cancellation; the holder of the job closes it. A job that has ended stays as it is.

        Raises `DatabaseFailure`.
        """
        outcome = await record_cancelled(self._store, image, reason)
        at("cancel.appended")
        self._completions.notify(image.id, outcome)
        with after_commit("end in the queue"):  # otherwise the next holder finds that the job has ended
            await self._queue.end(image.id)
        at("cancel.closed")
        return outcome

    async def close(self, image: Image, outcome: JobOutcome, job: RunningJob | None) -> None:
        """Close a job whose outcome is recorded. `job` is what this process ran of it."""
        self._completions.notify(image.id, outcome)
        await self.remove_leftovers(image.id, outcome.picture)
        at("tell.closed")
        drew = job.server if job and outcome.picture else None
        elsewhere = job.was_started_before if job else image.attempts > 0
        self._background.start(self._clean_up_servers(image.id, drew, elsewhere), f"clean up {image.id}")

    async def remove_leftovers(self, image_id: UUID, picture: str | None) -> None:
        """Remove the stored file of a job without a picture, then delete the job from the queue."""
        if picture is None:
            await self._pictures.remove(picture_key(image_id))
            at("close.removed")
        await self._queue.close(image_id)

    async def _clean_up_servers(self, image_id: UUID, drew: InferenceServer | None, elsewhere: bool) -> None:
        """The server that drew forgets the job; if others may have it, they stop it. Best effort."""
        if drew and not elsewhere and self._aliases.unchecked(drew):
            # Another process may have started the job while our lease had expired.
            image = await self._store.find(Image, image_id)
            if image and image.attempts == 1:
                await self._aliases.check(drew, image_id, self._seconds_max)
        others = [server for server in self._servers.all.values() if server is not drew] if elsewhere else []
        stops = [stop_job(server, image_id, self._seconds_max) for server in others]
        await asyncio.gather(*([_forget_job(drew, image_id, self._seconds_max)] if drew else []), *stops)


class ServerAliases:
    """Finds one server under two addresses: a job sent to one of them alone is known at the other.

    Each pair is checked once. An alias is only logged: several servers may share one of the addresses.
    """

    def __init__(self, servers: ServerPool) -> None:
        self._servers = servers
        self._checked: set[frozenset[str]] = set()

    def unchecked(self, drew: InferenceServer) -> list[InferenceServer]:
        others = [s for s in self._servers.all.values() if s is not drew and s.is_reachable]
        return [other for other in others if _pair(drew, other) not in self._checked]

    async def check(self, drew: InferenceServer, image_id: UUID, seconds_max: float) -> None:
        """Best effort. The job was sent to `drew` alone and is still in its history."""
        for other in self.unchecked(drew):
            async with _best_effort(seconds_max):
                state, pair = await other.client.find(image_id), _pair(drew, other)
                self._checked.add(pair)
                if state is not JobState.UNKNOWN:
                    _logger.error("one inference server has two addresses", servers=sorted(pair))
        present = self._servers.all.keys()
        self._checked = {pair for pair in self._checked if pair <= present}


def _pair(one: InferenceServer, other: InferenceServer) -> frozenset[str]:
    return frozenset((one.url, other.url))


@asynccontextmanager
async def _best_effort(seconds_max: float) -> AsyncIterator[None]:
    with suppress(InferenceError, TimeoutError):
        async with asyncio.timeout(seconds_max):
            yield


async def stop_job(server: InferenceServer, image_id: UUID, seconds_max: float) -> None:
    """Best effort. A job that has ended or is unknown there is left alone."""
    async with _best_effort(seconds_max):
        await server.client.cancel(image_id)


async def forget_stopped_job(server: InferenceServer, image_id: UUID, seconds_max: float) -> None:
    """Delete a stopped job from the server's history, which holds its prompt, once it has ended there."""
    async with _best_effort(seconds_max):
        while await server.client.find(image_id) in UNFINISHED:  # noqa: ASYNC110 - a remote state
            await asyncio.sleep(POLL_SECONDS)
        await server.client.forget(image_id)


async def _forget_job(server: InferenceServer, image_id: UUID, seconds_max: float) -> None:
    async with _best_effort(seconds_max):
        await server.client.forget(image_id)
