"""Generate an image: ask (points are held); a dispatcher draws and tells (points are spent, or returned)."""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from huajuan.domain.account import Account, known
from huajuan.domain.aggregate import Entity
from huajuan.domain.image import Image
from huajuan.domain.image_parameters import Order
from huajuan.domain.points import PICTURE_COST
from huajuan.domain.refusals import NotEnoughPoints, Refused
from huajuan.event_store.after_commit import after_commit
from huajuan.event_store.errors import Conflict, LogBusy
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import Decided
from huajuan.jobs.errors import NobodyDraws, QueueFull
from huajuan.jobs.outcomes import Ending
from huajuan.jobs.runner import DrawingRoom
from huajuan.runtime.fail_points import at

WAITED_TOO_LONG = "nobody waited for it any longer"


async def generate_image(
    room: DrawingRoom, account_id: UUID, image_id: UUID, order: Order, wait_seconds_max: float
) -> Ending:
    """Wait for the picture. A caller that goes away changes nothing: the job goes on. One that has waited for
    `wait_seconds_max` has it cancelled.

    Raises what `ask_for_image` raises, and `EndUnknown`.
    """
    position = await ask_for_image(room, account_id, image_id, order)
    with after_commit("wait for the picture"):
        ending = await _wait(room, image_id, wait_seconds_max)
        return ending._replace(requested_at=position)
    raise EndUnknown(image_id, position)


class EndUnknown(Exception):
    """The job is on record at `position`, and goes on; how it ends cannot be learned just now."""

    def __init__(self, image_id: UUID, position: int) -> None:
        super().__init__(image_id, position)
        self.image_id = image_id
        self.position = position


async def _wait(room: DrawingRoom, image_id: UUID, wait_seconds_max: float) -> Ending:
    try:
        async with asyncio.timeout(wait_seconds_max):
            return await room.endings.of(image_id)
    except TimeoutError:
        return await _cancel(room, image_id)


async def _cancel(room: DrawingRoom, image_id: UUID) -> Ending:
    image = await room.store.find(Image, image_id)
    if image is None:
        raise LogBusy
    return await room.closing.cancel(image, WAITED_TOO_LONG)


async def ask_for_image(room: DrawingRoom, account_id: UUID, image_id: UUID, order: Order) -> int:
    """Returns the position of the request, which waits for its turn now, or has had it if an earlier run of the
    same command asked.

    Raises `NotEnoughPoints`, `NotRegistered`, `QueueFull`, `NobodyDraws` and `LogError`.
    """
    return await asyncio.shield(asyncio.ensure_future(_ask_and_queue(room, account_id, image_id, order)))


async def _ask_and_queue(room: DrawingRoom, account_id: UUID, image_id: UUID, order: Order) -> int:
    deadline = room.store.clock() + timedelta(seconds=room.limits.job_seconds_max)
    try:
        if not len(room.painters):
            raise NobodyDraws
        await room.queue.open(image_id, account_id, deadline)
        at("ask.opened")
    except (NobodyDraws, QueueFull):
        # What an earlier run of the same command asked for has its place in the queue.
        if earlier := await room.store.made_before(Stream(Account, account_id)):
            return behind_hold(earlier)
        await _refuse_without_points(room, account_id)
        raise
    try:
        asked = await _ask(room, account_id, image_id, order, deadline)
    except (Refused, LogBusy, Conflict):  # certainly nothing was appended
        await room.queue.withdraw(image_id)
        raise
    at("ask.appended")
    with after_commit("ready in the queue"):  # else it waits until this process's lease on it lapses
        await room.queue.ready(image_id, room.workflows.current)
    at("ask.ready")
    return behind_hold(asked) if len(asked.aggregates) == 1 else asked.position


def behind_hold(earlier: Decided) -> int:
    """An earlier run's change of the account is its hold, which the request follows in the same append."""
    return earlier.position + 1


async def _refuse_without_points(room: DrawingRoom, account_id: UUID) -> None:
    """Who could not pay anyway is told that first."""
    if known(await room.store.find(Account, account_id)).balance < PICTURE_COST:
        raise NotEnoughPoints


async def _ask(
    room: DrawingRoom, account_id: UUID, image_id: UUID, order: Order, deadline: datetime
) -> Decided:
    """One append takes the points into a hold and records the request, or neither happens."""

    def decide(found: Account | None) -> Iterable[Entity]:
        account = known(found)
        account.hold(image_id, PICTURE_COST)
        image = Image.request(image_id, account_id, order, PICTURE_COST, deadline, room.workflows.current)
        return [account, image]

    return await room.store.change(decide, Stream(Account, account_id))
