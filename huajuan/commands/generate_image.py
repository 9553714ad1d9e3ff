"""Generate an image: ask (points are held), draw, tell (points are spent, or returned)."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from huajuan.dispatch.room import DrawingRoom
from huajuan.dispatch.telling import Ending
from huajuan.domain.account import Account, known
from huajuan.domain.facts import Entity
from huajuan.domain.image import Image, Order
from huajuan.domain.points import PICTURE_COST
from huajuan.domain.refusals import Refused
from huajuan.event_store.errors import Conflict, LogBusy
from huajuan.event_store.loading import Stream


async def generate_image(room: DrawingRoom, account_id: UUID, image_id: UUID, order: Order) -> Ending:
    """Wait for the picture. A caller that goes away changes nothing: the job goes on.

    Raises `NotEnoughPoints`, `NotRegistered`, `RoomFull` and `LogError`.
    """
    room.refuse_when_full()
    return await asyncio.shield(asyncio.ensure_future(_ask_and_draw(room, account_id, image_id, order)))


async def _ask_and_draw(room: DrawingRoom, account_id: UUID, image_id: UUID, order: Order) -> Ending:
    host = room.hosts.least_busy()
    await room.leases.open(image_id, host)
    try:
        image = await _ask(room, account_id, image_id, order)
    except (Refused, LogBusy, Conflict):  # certainly nothing was appended
        await room.leases.close(image_id)
        raise
    return await room.draw(image, host)


async def _ask(room: DrawingRoom, account_id: UUID, image_id: UUID, order: Order) -> Image:
    """One append takes the points into a hold and records the request, or neither happens."""
    deadline = room.store.clock() + timedelta(seconds=room.limits.job_seconds_max)

    def decide(found: Account | None) -> Iterable[Entity]:
        account = known(found)
        account.hold(image_id, PICTURE_COST)
        return [account, Image.request(image_id, account_id, order, PICTURE_COST, deadline)]

    decided = await room.store.change(decide, Stream(Account, account_id))
    image: Image = decided.aggregates[1]
    return image
