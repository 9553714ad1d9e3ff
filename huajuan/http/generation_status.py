"""The JSON form of a job: its state from the log, its position in the queue, and its estimated end."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from huajuan.domain.image import Image
from huajuan.domain.refusals import ImageNotFound
from huajuan.event_store.log_reader import StreamReader
from huajuan.http.request import whole_number
from huajuan.http.serializers import EXAMPLE_PICTURE, Address, Moment, picture_address, wire_time
from huajuan.jobs.queue import JobQueue, QueuePosition
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.generations import (
    GENERATIONS,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    GenerationRow,
    Status,
    fold_generation,
    service_seconds,
)
from huajuan.settings import Settings

PATH = "/auth/generations"
# The newest pictures whose mean duration the estimate is made from.
ETA_PICTURES_MAX = 50
# The least estimate for a job without progress, as a part of the mean.
LEFT_WITHOUT_PROGRESS_MIN = 0.1


class JobProgress(msgspec.Struct, kw_only=True):
    """`position` is 1 for the job that starts next and 0 for one in hand, null when it has ended.

    `eta_seconds` until its end is null before any picture was drawn, `progress` is 0 to 1.
    """

    position: int | None
    eta_seconds: float | None
    progress: float


class JobOnWire(msgspec.Struct, kw_only=True):
    """A job: `image_id` and `image_url` are null until there is a picture, `charged` is 0 until then."""

    id: int
    status: Status
    position: int | None
    eta_seconds: float | None
    progress: float
    reason: str | None
    charged: int
    attempts: int
    image_id: int | None
    image_url: Address | None
    create_time: Moment
    started_time: Moment | None
    ended_time: Moment | None


class JobResponse(JobOnWire, kw_only=True):
    """One job."""

    code: int
    message: str


EXAMPLE_QUEUED: dict[str, Any] = {
    "id": 8,
    "status": "queued",
    "position": 2,
    "eta_seconds": 12.5,
    "progress": 0.0,
    "reason": None,
    "charged": 0,
    "attempts": 0,
    "image_id": None,
    "image_url": None,
    "create_time": "2024-11-21T23:31:05.1Z",
    "started_time": None,
    "ended_time": None,
}
EXAMPLE_SUCCEEDED = EXAMPLE_QUEUED | {
    "status": "succeeded",
    "position": None,
    "eta_seconds": None,
    "progress": 1.0,
    "charged": 20,
    "attempts": 1,
    "image_id": 9,
    "image_url": EXAMPLE_PICTURE,
    "started_time": "2024-11-21T23:31:20Z",
    "ended_time": "2024-11-21T23:31:25.924231Z",
}
EXAMPLE_CANCELLED = EXAMPLE_QUEUED | {
    "status": "cancelled",
    "position": None,
    "eta_seconds": None,
    "reason": "cancelled",
    "ended_time": "2024-11-21T23:31:09Z",
}


class RecordedJob(NamedTuple):
    """A job, folded from its log stream up to `position`."""

    row: GenerationRow
    position: int


class JobViews:
    """Reads jobs from the log, the read tables and the queue, and makes their JSON forms."""

    def __init__(
        self,
        settings: Settings,
        streams: StreamReader,
        tables: ReadTables,
        queue: JobQueue,
        clock: Callable[[], datetime],
    ) -> None:
        self._address = settings.public_address
        self._streams, self._tables, self._queue, self._clock = streams, tables, queue, clock

    async def read_from_log(self, generation: str, account_id: UUID) -> RecordedJob:
        """The account's own job, as the log has it now. Raises `ImageNotFound`."""
        image_id = await self._streams.stream_at(number_of(generation), Image.Requested.TOPIC)
        recorded = await self._streams.after(image_id, 0, GENERATIONS.topics) if image_id else []
        row = fold_generation(None, recorded)
        if row is None or row.account_id != account_id:
            raise ImageNotFound
        return RecordedJob(row, recorded[-1].position)

    async def with_progress(self, rows: list[GenerationRow]) -> list[JobOnWire]:
        """Jobs with their positions in the queue and their estimated ends."""
        mean = await self.mean_seconds() if any(row.is_open for row in rows) else None
        places = [await self._queue.position(row.image_id) if row.is_open else None for row in rows]
        now = self._clock()
        return [
            job_on_wire(row, progress_of(row, place, mean, now), self._address)
            for row, place in zip(rows, places, strict=True)
        ]

    async def mean_seconds(self) -> float | None:
        """How long a picture takes; `None` before the first one."""
        return await service_seconds(self._tables, ETA_PICTURES_MAX)

    async def progress(self, row: GenerationRow, mean_seconds: float | None) -> JobProgress:
        """The present progress of one job."""
        return progress_of(row, await self._queue.position(row.image_id), mean_seconds, self._clock())

    def without_progress(self, row: GenerationRow) -> JobOnWire:
        """The part of a job that depends on its events alone."""
        return job_on_wire(row, progress_of(row, None, None, row.asked_at), self._address)


def number_of(generation: str) -> int:
    """The id of a job from a path. Raises `ImageNotFound` if it is no number."""
    try:
        return whole_number(generation)
    except ValueError:
        raise ImageNotFound from None


def progress_of(
    row: GenerationRow, place: QueuePosition | None, mean_seconds: float | None, now: datetime
) -> JobProgress:
    """`mean_seconds` is how long a picture takes, if that is known."""
    if row.status == RUNNING and (place is None or not place.is_running):
        place = QueuePosition(0, is_running=True, progress=0, running_jobs=1)
    if place is None or not row.is_open:
        return JobProgress(position=None, eta_seconds=None, progress=float(row.status == SUCCEEDED))
    progress = min(1.0, max(0.0, place.progress)) if row.status != QUEUED else 0.0
    eta = None
    if mean_seconds is not None and place.running_jobs:
        elapsed = _elapsed_seconds(row, now) if place.is_running and row.status == RUNNING else 0.0
        eta = round(
            _turns_left(place) * mean_seconds + _remaining_seconds(progress, elapsed, mean_seconds), 1
        )
    return JobProgress(
        position=0 if place.is_running else place.ahead + 1, eta_seconds=eta, progress=progress
    )


def _turns_left(place: QueuePosition) -> float:
    """Mean durations until the job starts. The mean includes the wait in the inference server's queue."""
    return 0 if place.is_running else (place.ahead + 1) / place.running_jobs


def _remaining_seconds(progress: float, elapsed_seconds: float, mean_seconds: float) -> float:
    """The time left for a job that runs: the mean, corrected by its own speed the more progress it has made.

    A job without progress is never estimated as almost done: the server may still be loading the model.
    """
    if not progress:
        return max(mean_seconds - elapsed_seconds, mean_seconds * LEFT_WITHOUT_PROGRESS_MIN)
    return (1 - progress) * (elapsed_seconds + (1 - progress) * mean_seconds)


def _elapsed_seconds(row: GenerationRow, now: datetime) -> float:
    return max(0.0, (now - (row.started_at or now)).total_seconds())


def job_on_wire(row: GenerationRow, progress: JobProgress, address: str) -> JobOnWire:
    is_visible = row.picture is not None and not row.hidden
    return JobOnWire(
        id=row.id,
        status=row.status,  # type: ignore[arg-type]
        position=progress.position,
        eta_seconds=progress.eta_seconds,
        progress=progress.progress,
        reason=row.reason,
        charged=row.charged,
        attempts=row.attempts,
        image_id=row.drawn_id,
        image_url=picture_address(address, row.picture or "") if is_visible else None,
        create_time=wire_time(row.asked_at),
        started_time=wire_time(row.started_at) if row.started_at else None,
        ended_time=wire_time(row.ended_at) if row.ended_at else None,
    )
