"""What follows the end of a job: who waits hears of it, what was stored for nothing goes, and then the job."""

from uuid import UUID

from huajuan.domain.image import Image
from huajuan.event_store.after_commit import after_commit
from huajuan.event_store.store import EventStore
from huajuan.jobs.background import Errands
from huajuan.jobs.completions import Endings
from huajuan.jobs.limits import DispatchLimits
from huajuan.jobs.outcomes import Ending, tell_cancelled
from huajuan.jobs.queue import JobQueue
from huajuan.jobs.running_job import JobInHand
from huajuan.jobs.server_aliases import Twins
from huajuan.jobs.server_cleanup import leave_tidy
from huajuan.jobs.servers import Painter, Painters
from huajuan.runtime.fail_points import at
from huajuan.storage.pictures import Pictures, key_of


class Closing:
    """A job's row in the queue goes last, so that whoever takes it after a death finds what is left to clear up."""

    def __init__(
        self,
        store: EventStore,
        queue: JobQueue,
        pictures: Pictures,
        painters: Painters,
        endings: Endings,
        errands: Errands,
        limits: DispatchLimits,
    ) -> None:
        self._store = store
        self._queue = queue
        self._pictures = pictures
        self._painters = painters
        self._twins = Twins(painters)
        self._endings = endings
        self._errands = errands
        self._limits = limits

    async def cancel(self, image: Image, reason: str) -> Ending:
        """Nobody wants it any more: told here, and closed by whoever has it in hand. One that has ended stays
        as it is.

        Raises `LogError`.
        """
        ending = await tell_cancelled(self._store, image, reason)
        at("cancel.appended")
        self._endings.told(image.id, ending)
        with after_commit("end in the queue"):  # else who claims it finds that it has ended
            await self._queue.end(image.id)
        at("cancel.closed")
        return ending

    async def close(self, image: Image, ending: Ending, job: JobInHand | None) -> None:
        """It was told of; `job` is what this process had of it in hand."""
        self._endings.told(image.id, ending)
        await self.clear_up(image.id, ending.picture)
        at("tell.closed")
        drew = job.painter if job and ending.picture else None
        elsewhere = job.was_begun if job else image.attempts > 0
        self._errands.begin(self._tidy(image.id, drew, elsewhere), f"tidy after {image.id}")

    async def _tidy(self, image_id: UUID, drew: Painter | None, elsewhere: bool) -> None:
        seconds_max = self._limits.stop_seconds_max
        if drew and not elsewhere and self._twins.not_looked_at(drew):
            # Somebody else may have begun it meanwhile, whose lease ran while ours had lapsed.
            image = await self._store.find(Image, image_id)
            if image and image.attempts == 1:
                await self._twins.notice(drew, image_id, seconds_max)
        await leave_tidy(self._painters, image_id, drew, elsewhere, seconds_max)

    async def clear_up(self, image_id: UUID, picture: str | None) -> None:
        """There is no picture without payment: what any attempt may have stored goes, and then the job."""
        if picture is None:
            await self._pictures.remove(key_of(image_id))
            at("close.removed")
        await self._queue.close(image_id)
