"""Whoever waits for a job's end hears of it, wherever it is told."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from huajuan.domain.image import Image
from huajuan.event_store.errors import LogError
from huajuan.event_store.store import EventStore
from huajuan.jobs.outcomes import Ending, ending_of


class Endings:
    """Told here, it is heard at once; told elsewhere, on the queue's channel; unheard, by looking now and then."""

    def __init__(self, store: EventStore, poll_seconds: float) -> None:
        self._store = store
        self._poll_seconds = poll_seconds
        self._waiting: dict[UUID, list[asyncio.Future[Ending | None]]] = {}

    def told(self, image_id: UUID, ending: Ending | None) -> None:
        """`None` where it is only known that it has ended."""
        for future in self._waiting.get(image_id, []):
            if not future.done():
                future.set_result(ending)

    async def of(self, image_id: UUID) -> Ending:
        """Waits for as long as it takes."""
        while True:
            with self._listening(image_id) as future:
                if ended := await self._as_on_record(image_id):
                    return ended
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_seconds):
                        if ending := await future:
                            return ending

    @contextmanager
    def _listening(self, image_id: UUID) -> Iterator["asyncio.Future[Ending | None]"]:
        future: asyncio.Future[Ending | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(image_id, []).append(future)
        try:
            yield future
        finally:
            self._waiting[image_id].remove(future)
            if not self._waiting[image_id]:
                del self._waiting[image_id]

    async def _as_on_record(self, image_id: UUID) -> Ending | None:
        """A log that cannot be read says nothing of the job."""
        try:
            image = await self._store.find(Image, image_id)
            return None if image is None or image.is_open else await ending_of(self._store, image)
        except LogError:
            return None
