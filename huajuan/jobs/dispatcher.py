"""Dispatchers: one a painter in each process, which takes the next job in turn whenever the painter can have one."""

import asyncio
from contextlib import suppress
from uuid import UUID

import structlog

from huajuan.domain.inference_servers import Studio
from huajuan.event_store.errors import LogError
from huajuan.jobs.runner import TOO_LONG, DrawingRoom
from huajuan.jobs.servers import Painter
from huajuan.runtime.cancel_tasks import end
from huajuan.runtime.fail_points import at
from huajuan.storage.pictures import StoreAway

NOBODY_DREW = "no painter could be reached"
_logger = structlog.get_logger(__name__)


class Dispatcher:
    """Jobs are in the database alone, so any number of processes may dispatch; painters may come and go."""

    def __init__(self, room: DrawingRoom) -> None:
        self.room = room
        self._limits = room.limits
        self._bells: dict[str, asyncio.Event] = {}

    async def run(self) -> None:
        """For ever: a loop for each painter there is."""
        loops: dict[str, asyncio.Task[None]] = {}
        leaving: set[asyncio.Task[None]] = set()
        try:
            while True:
                await self.learn_painters()
                painters = self.room.painters.all
                for url in painters.keys() - loops.keys():
                    loops[url] = asyncio.create_task(self._serve(painters[url]), name=f"dispatch {url}")
                # Each ends by itself, for one that has just claimed a job must take it.
                leaving |= {loops.pop(url) for url in loops.keys() - painters.keys()}
                leaving -= {task for task in leaving if task.done()}
                await self._rung("", self._limits.painters_every_seconds)
        finally:
            await end([*loops.values(), *leaving])

    async def learn_painters(self) -> None:
        """What admins have added and removed."""
        painters, store = self.room.painters, self.room.store
        try:
            studio = await store.find(Studio, store.stream_ids.studio())
        except LogError as error:
            _logger.warning("painters not learned", error=type(error).__name__)
            return
        if studio is not None:
            await painters.become(studio.painters(painters.configured))

    def wake(self) -> None:
        """There is a new job, or a painter is free."""
        for bell in self._bells.values():
            bell.set()

    def hear(self, words: str) -> None:
        """A job's id: it has ended. Nothing: one waits."""
        if words:
            with suppress(ValueError):
                image_id = UUID(words)
                self.room.endings.told(image_id, None)
                self.room.stop(image_id)
        self.wake()

    def hearing(self, is_hearing: bool, /) -> None:
        if is_hearing:
            self.wake()

    async def _serve(self, painter: Painter) -> None:
        """For as long as it is one of ours."""
        while self.room.painters.all.get(painter.url) is painter:
            await asyncio.sleep(painter.rest_seconds)
            try:
                if not self.room.has_job_at(painter):
                    await painter.check_again()
                took = not painter.rest_seconds and await painter.is_there() and await self._take(painter)
            except LogError as error:
                _logger.warning("no job taken", host=painter.url, error=type(error).__name__)
                took = False
            except Exception as error:  # of this round alone: the painter is not left out for ever
                _logger.error("no job taken", host=painter.url, exc_info=error)
                took = False
            if not took:
                await self._rung(painter.url, self._limits.claim_every_seconds)

    async def _take(self, painter: Painter) -> bool:
        painters = self.room.painters
        claimed = await self.room.queue.claim(
            painter.url,
            painter.jobs_max,
            others=painters.awaited() - {painter.url},
            lacking=painters.lacking(),
            checked=painters.checked_workflow,
        )
        if claimed is not None:
            at("draw.claimed")
            self.room.take(claimed, painter).add_done_callback(lambda _: self.wake())
        return claimed is not None

    async def _rung(self, name: str, seconds: float) -> None:
        bell = self._bells.setdefault(name, asyncio.Event())
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await bell.wait()
        bell.clear()

    async def keep_giving_up(self) -> None:
        """For ever: what is past its deadline, or what nobody can draw, ends with its points returned."""
        while True:
            try:
                await self.give_up_overdue()
            except LogError as error:
                _logger.warning("overdue jobs left for later", error=type(error).__name__)
            except Exception as error:  # a picture that cannot be removed must not keep the others waiting
                _logger.error("overdue jobs left for later", exc_info=error)
            await asyncio.sleep(self._limits.overdue_every_seconds)

    async def give_up_overdue(self) -> int:
        """How many were given up."""
        nobody = self.room.painters.nobody_answers_for() > self._limits.nobody_seconds_max
        overdue = await self.room.queue.claim_overdue(
            self.room.store.clock(), self._limits.overdue_batch_max, all_waiting=nobody
        )
        for claimed in overdue:
            at("give_up.claimed")
            try:
                await self.room.give_up(claimed, NOBODY_DREW if nobody else TOO_LONG)
            except (
                StoreAway
            ) as error:  # it has ended all the same, and is cleared up by whoever takes it next
                _logger.warning("picture left for later", image_id=str(claimed.image_id), reason=str(error))
        return len(overdue)
