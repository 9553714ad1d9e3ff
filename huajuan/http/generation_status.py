"""How a job is shown: what the log says of it, where it stands in the queue, and when it may be done."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from huajuan.domain.image import Image
from huajuan.domain.refusals import ImageNotFound
from huajuan.http.query_params import whole_number
from huajuan.http.serializers import EXAMPLE_PICTURE, Address, Moment, picture_address, wire_time
from huajuan.http.services import Desk
from huajuan.jobs.queue import Place
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

PATH = "/auth/generations"
# Of the mean, for a job that says nothing of its progress.
LEFT_WITHOUT_PROGRESS_MIN = 0.1


class Standing(msgspec.Struct, kw_only=True):
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


class JobReply(JobOnWire, kw_only=True):
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


class OnRecord(NamedTuple):
    """A job as the log has it up to a position."""

    row: GenerationRow
    position: int


async def on_record(desk: Desk, generation: str, account_id: UUID) -> OnRecord:
    """The account's own job as the log has it at this moment. Raises `ImageNotFound`."""
    image_id = await desk.streams.begun_at(number_of(generation), Image.Requested.TOPIC)
    told = await desk.streams.after(image_id, 0, GENERATIONS.topics) if image_id else []
    row = fold_generation(None, told)
    if row is None or row.account_id != account_id:
        raise ImageNotFound
    return OnRecord(row, told[-1].position)


def number_of(generation: str) -> int:
    """A job's id as it stands in a path. Raises `ImageNotFound`: what is no number is no job's."""
    try:
        return whole_number(generation)
    except ValueError:
        raise ImageNotFound from None


async def jobs_now(desk: Desk, rows: list[GenerationRow]) -> list[JobOnWire]:
    """With their places in the queue and when each may be done."""
    mean = await mean_seconds(desk) if any(row.is_open for row in rows) else None
    places = [await desk.queue.place(row.image_id) if row.is_open else None for row in rows]
    address, now = desk.settings.public_address, desk.store.clock()
    return [
        job_on_wire(row, standing(row, place, mean, now), address)
        for row, place in zip(rows, places, strict=True)
    ]


async def job_now(desk: Desk, row: GenerationRow) -> JobOnWire:
    (job,) = await jobs_now(desk, [row])
    return job


async def mean_seconds(desk: Desk) -> float | None:
    return await service_seconds(desk.tables, desk.settings.eta_pictures_max)


def standing(row: GenerationRow, place: Place | None, mean_seconds: float | None, now: datetime) -> Standing:
    """`mean_seconds` is how long a picture takes, if that is known."""
    if row.status == RUNNING and (place is None or not place.in_hand):
        place = Place(0, in_hand=True, progress=0, at_work=1)
    if place is None or not row.is_open:
        return Standing(position=None, eta_seconds=None, progress=float(row.status == SUCCEEDED))
    progress = min(1.0, max(0.0, place.progress)) if row.status != QUEUED else 0.0
    eta = None
    if mean_seconds is not None and place.at_work:
        took = _took_seconds(row, now) if place.in_hand and row.status == RUNNING else 0.0
        eta = round(_turns_before(place) * mean_seconds + _left_seconds(progress, took, mean_seconds), 1)
    return Standing(position=0 if place.in_hand else place.ahead + 1, eta_seconds=eta, progress=progress)


def _turns_before(place: Place) -> float:
    """One is taken for each that ends, and the mean counts the time in which a job waits at its painter."""
    return 0 if place.in_hand else (place.ahead + 1) / place.at_work


def _left_seconds(progress: float, took_seconds: float, mean_seconds: float) -> float:
    """Of a job itself: it takes as long as any, corrected by its own pace the more it has shown of it.

    One that has shown nothing yet is never about to be done: it may be loading its model.
    """
    if not progress:
        return max(mean_seconds - took_seconds, mean_seconds * LEFT_WITHOUT_PROGRESS_MIN)
    return (1 - progress) * (took_seconds + (1 - progress) * mean_seconds)


def _took_seconds(row: GenerationRow, now: datetime) -> float:
    return max(0.0, (now - (row.started_at or now)).total_seconds())


def job_on_wire(row: GenerationRow, standing: Standing, address: str) -> JobOnWire:
    is_shown = row.picture is not None and not row.hidden
    return JobOnWire(
        id=row.id,
        status=row.status,  # type: ignore[arg-type]
        position=standing.position,
        eta_seconds=standing.eta_seconds,
        progress=standing.progress,
        reason=row.reason,
        charged=row.charged,
        attempts=row.attempts,
        image_id=row.drawn_id,
        image_url=picture_address(address, row.picture or "") if is_shown else None,
        create_time=wire_time(row.asked_at),
        started_time=wire_time(row.started_at) if row.started_at else None,
        ended_time=wire_time(row.ended_at) if row.ended_at else None,
    )
