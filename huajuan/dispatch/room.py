"""The drawing room: draws each job in a task of its own, and tells the log how it ended."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from uuid import UUID

import structlog

from huajuan.dispatch.hosts import Hosts
from huajuan.dispatch.leases import Leases
from huajuan.dispatch.limits import DispatchLimits
from huajuan.dispatch.telling import Ending, tell_drawn, tell_failed
from huajuan.domain.image import Image
from huajuan.event_store.ending import end
from huajuan.event_store.errors import LogError
from huajuan.event_store.store import EventStore
from huajuan.inference_client import (
    Drawing,
    DrawingFailed,
    InferenceError,
    JobLost,
    OutcomeUnknown,
    ServerUnavailable,
)
from huajuan.pictures import Pictures

Draw = Callable[[], Awaitable[bytes]]

_logger = structlog.get_logger(__name__)


class RoomFull(Exception):
    """As many jobs are open in this process as may be."""


class DrawingRoom:
    """A client that goes away does not end a job: the task is the room's, and only awaited by the client."""

    def __init__(
        self,
        store: EventStore,
        leases: Leases,
        hosts: Hosts,
        pictures: Pictures,
        limits: DispatchLimits,
        checkpoint: str = "",
    ) -> None:
        self.store = store
        self.leases = leases
        self.hosts = hosts
        self.limits = limits
        self._pictures = pictures
        self._checkpoint = checkpoint or None
        self._tasks: dict[UUID, asyncio.Task[Ending]] = {}

    @property
    def places(self) -> int:
        """How many more jobs may be open in this process."""
        return max(0, self.limits.jobs_open_max - len(self._tasks))

    def refuse_when_full(self) -> None:
        if not self.places:
            raise RoomFull

    def draw(self, image: Image, host: str) -> asyncio.Task[Ending]:
        """Draw a job just asked for."""
        return self._begin(image, lambda: self._draw_somewhere(self._drawing(image), host))

    def finish(self, image: Image) -> asyncio.Task[Ending]:
        """Finish a job that another process began: nothing is sent again."""
        return self._begin(image, lambda: self._finish(self._drawing(image)))

    def has(self, image_id: UUID) -> bool:
        return image_id in self._tasks

    async def keep_leases(self) -> None:
        """For ever: renew the leases of the jobs in hand."""
        while True:
            await asyncio.sleep(self.limits.heartbeat_seconds)
            if self._tasks:
                try:
                    await self.leases.renew(list(self._tasks))
                except LogError as error:
                    _logger.warning("leases not renewed", error=type(error).__name__)

    async def close(self) -> None:
        """Leave the open jobs to whoever comes next; the servers go on drawing them."""
        await end(self._tasks.values())
        try:
            await self.leases.let_go()
        except LogError as error:
            _logger.warning("leases left to lapse", error=type(error).__name__)

    def _begin(self, image: Image, draw: Draw) -> asyncio.Task[Ending]:
        task = asyncio.create_task(self._draw_and_tell(image, draw), name=f"draw {image.id}")
        self._tasks[image.id] = task
        task.add_done_callback(lambda ended: self._forget(image.id, ended))
        return task

    def _forget(self, image_id: UUID, task: asyncio.Task[Ending]) -> None:
        self._tasks.pop(image_id, None)
        if not task.cancelled() and (error := task.exception()):
            # The lease lapses, and the job is finished by whoever takes it.
            _logger.error("job left open", image_id=str(image_id), exc_info=error)

    async def _draw_and_tell(self, image: Image, draw: Draw) -> Ending:
        try:
            content = await self._until_known(image, draw)
            picture = await self._pictures.put(image.id, content)
        except InferenceError as failure:
            _logger.warning("not drawn", image_id=str(image.id), reason=failure.reason, detail=failure.detail)
            ending = await tell_failed(self.store, image, failure.reason)
        except Exception as failure:
            _logger.error("not drawn or not stored", image_id=str(image.id), exc_info=failure)
            ending = await tell_failed(self.store, image, "the picture could not be made")
        else:
            ending = await tell_drawn(self.store, image, picture, content)
            if ending.picture != picture:
                await self._pictures.remove(picture)
        await self.leases.close(image.id)
        return ending

    async def _until_known(self, image: Image, draw: Draw) -> bytes:
        """While the outcome is unknown nothing is said; at the deadline no picture is one that did not come."""
        while True:
            try:
                return await draw()
            except OutcomeUnknown as unknown:
                if self.store.clock() >= image.deadline:
                    raise DrawingFailed("the painter did not answer in time", unknown.detail) from unknown
            await asyncio.sleep(self.limits.retry_pause_seconds)
            draw = partial(self._finish, self._drawing(image))

    async def _draw_somewhere(self, drawing: Drawing, host: str) -> bytes:
        """On this host, or on another if this one certainly queued nothing."""
        for url in [host, *self.hosts.others(host)]:
            try:
                with self.hosts.occupied(url) as comfyui:
                    return await comfyui.draw(drawing)
            except ServerUnavailable as unavailable:
                _logger.warning("painter unavailable", host=url, detail=unavailable.detail)
        raise DrawingFailed("no painter could be reached")

    async def _finish(self, drawing: Drawing) -> bytes:
        url = await self.hosts.that_knows(drawing.prompt_id)
        if url is None:
            raise JobLost("the painter no longer knows the job")
        with self.hosts.occupied(url) as comfyui:
            return await comfyui.finish(drawing)

    def _drawing(self, image: Image) -> Drawing:
        """What a painter needs to know. An erased person's job has no prompt any more."""
        return Drawing(
            prompt_id=image.id,
            prompt=image.prompt or "",
            width=image.width,
            height=image.height,
            steps=image.steps,
            sampling_method=image.sampling_method,
            noise_seed=image.noise_seed,
            checkpoint=self._checkpoint,
        )
