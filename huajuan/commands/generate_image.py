"""Generate an image: request it, which holds its points, then wait for the outcome. Cancel it.

A dispatcher draws the requested image (`jobs`). The points are settled if it is drawn, otherwise returned.
"""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from huajuan.domain.account import Account, require_account
from huajuan.domain.aggregate import AggregateRoot
from huajuan.domain.image import Image, ImageParameters
from huajuan.domain.refusals import ImageNotFound, NotEnoughPoints, Refused
from huajuan.domain.rules import PICTURE_COST
from huajuan.event_store.errors import Conflict, DatabaseBusy
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import ChangeResult, after_commit
from huajuan.jobs.outcomes import JobOutcome
from huajuan.jobs.queue import NoServerAvailable, QueueFull
from huajuan.jobs.runner import JobRunner
from huajuan.runtime.fail_points import at

CANCELLED = "cancelled"
WAITED_TOO_LONG = "nobody waited for it any longer"


async def generate_image(
    job_runner: JobRunner,
    account_id: UUID,
    image_id: UUID,
    parameters: ImageParameters,
    wait_seconds_max: float,
) -> JobOutcome:
    """Request the image and wait for its outcome; after `wait_seconds_max` the job is cancelled.

    A caller that is cancelled changes nothing: the job continues.
    Raises what `request_image` raises, and `ImageOutcomeUnknown`.
    """
    position = await request_image(job_runner, account_id, image_id, parameters)
    with after_commit("wait for the picture"):
        outcome = await _wait(job_runner, image_id, wait_seconds_max)
        return outcome._replace(requested_at=position)
    raise ImageOutcomeUnknown(image_id, position)


class ImageOutcomeUnknown(Exception):
    """The request is recorded at `position` and the job continues, but its outcome cannot be read now."""

    def __init__(self, image_id: UUID, position: int) -> None:
        super().__init__(image_id, position)
        self.image_id = image_id
        self.position = position


async def _wait(job_runner: JobRunner, image_id: UUID, wait_seconds_max: float) -> JobOutcome:
    try:
        async with asyncio.timeout(wait_seconds_max):
            return await job_runner.completions.wait(image_id)
    except TimeoutError:
        image = await job_runner.store.find(Image, image_id)
        if image is None:
            raise DatabaseBusy from None
        return await job_runner.cleanup.cancel(image, WAITED_TOO_LONG)


async def cancel_image(job_runner: JobRunner, account_id: UUID, image_id: UUID) -> JobOutcome:
    """Stop drawing and return the points. An image that is already finished stays as it is.

    Raises `ImageNotFound` for any account but the owner's, and `DatabaseFailure`.
    """
    image = await job_runner.store.find(Image, image_id)
    if image is None or image.account_id != account_id or image.is_erased:
        raise ImageNotFound
    return await job_runner.cleanup.cancel(image, CANCELLED)


async def request_image(
    job_runner: JobRunner, account_id: UUID, image_id: UUID, parameters: ImageParameters
) -> int:
    """Hold the points, record the request and queue the job. Return the position of the request.

    If an earlier run of the same command requested the image, return that position.
    Raises `NotEnoughPoints`, `NotRegistered`, `QueueFull`, `NoServerAvailable` and `DatabaseFailure`.
    """
    request = _request_and_queue(job_runner, account_id, image_id, parameters)
    return await asyncio.shield(asyncio.ensure_future(request))


async def _request_and_queue(
    job_runner: JobRunner, account_id: UUID, image_id: UUID, parameters: ImageParameters
) -> int:
    deadline = job_runner.store.clock() + timedelta(seconds=job_runner.limits.job_seconds_max)
    try:
        if not len(job_runner.servers):
            raise NoServerAvailable
        await job_runner.queue.open(image_id, account_id, deadline)
        at("ask.opened")
    except (NoServerAvailable, QueueFull):
        # A job of an earlier run of the same command is in the queue already.
        if earlier := await job_runner.store.previous_result(Stream(Account, account_id)):
            return _request_position(earlier)
        # Too few points are reported before a full queue or missing servers.
        if require_account(await job_runner.store.find(Account, account_id)).balance < PICTURE_COST:
            raise NotEnoughPoints from None
        raise
    try:
        decided = await _append_request(job_runner, account_id, image_id, parameters, deadline)
    except (Refused, DatabaseBusy, Conflict):  # surely nothing was appended
        await job_runner.queue.withdraw(image_id)
        raise
    at("ask.appended")
    with after_commit("ready in the queue"):  # on failure the job waits until this process's lease expires
        await job_runner.queue.ready(image_id, job_runner.workflows.current)
    at("ask.ready")
    return _request_position(decided) if len(decided.aggregates) == 1 else decided.position


def _request_position(earlier: ChangeResult) -> int:
    """An earlier run's result has only the account; the request follows its hold in the same append."""
    return earlier.position + 1


async def _append_request(
    job_runner: JobRunner, account_id: UUID, image_id: UUID, parameters: ImageParameters, deadline: datetime
) -> ChangeResult:
    """Hold the points and record the request in one append."""

    def decide(found: Account | None) -> Iterable[AggregateRoot]:
        account = require_account(found)
        account.hold(image_id, PICTURE_COST)
        workflow = job_runner.workflows.current
        return [account, Image.request(image_id, account_id, parameters, PICTURE_COST, deadline, workflow)]

    return await job_runner.store.change(decide, Stream(Account, account_id))
