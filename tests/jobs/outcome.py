"""How a job ended, looked at from all sides at once: the log, the points, the leases and the files."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from huajuan.commands.generate_image import ask_for_image
from huajuan.domain.image import Image
from huajuan.domain.image_parameters import Order
from huajuan.http.services import Desk
from huajuan.jobs.limits import DispatchLimits
from huajuan.storage.pictures import key_of
from tests.commands.people import account_of
from tests.inference_client.conftest import limits
from tests.services import until

SMALL = Order("moon over a lake", 48, 48, 3, "DDIM", "7")
COST = 20
BRISK = DispatchLimits(
    claim_every_seconds=0.05, rest_seconds_min=0.05, rest_seconds_max=0.4, overdue_every_seconds=0.1,
    wait_poll_seconds=0.1, heartbeat_seconds=0.2, stop_seconds_max=2, lease_seconds=3600,
)  # fmt: skip
IMPATIENT = limits(
    read_seconds_max=1.0, request_seconds_max=1.5, picture_seconds_max=1.5, seconds_without_progress_max=1.0,
    json_bytes_max=100_000, picture_bytes_max=500_000, socket_frame_bytes_max=1024 * 1024,
)  # fmt: skip
_ENDS = """
SELECT topic FROM log.huajuan_events WHERE originator_id = %s
   AND topic IN ('image.drawn', 'image.drawing_failed', 'image.cancelled')
"""
_STARTS = (
    "SELECT originator_id FROM log.huajuan_events WHERE topic = 'image.started' ORDER BY notification_id"
)


class Outcome(NamedTuple):
    """The one event that ended it, why there is no picture if there is none, and how often it was begun."""

    topic: str
    reason: str | None
    attempts: int


async def asked(desk: Desk, account_id: UUID, order: Order = SMALL) -> UUID:
    image_id = uuid4()
    await ask_for_image(desk.room, account_id, image_id, order)
    return image_id


async def image_of(desk: Desk, image_id: UUID) -> Image:
    image = await desk.store.find(Image, image_id)
    assert image
    return image


async def rows(desk: Desk, statement: str, *values: object) -> list[tuple[Any, ...]]:
    async with desk.store._pool.connection() as connection:
        return await (await connection.execute(statement.encode(), values)).fetchall()


async def starts(desk: Desk) -> list[UUID]:
    """Which images were taken up by a painter, in the order of the log."""
    return [image_id for (image_id,) in await rows(desk, _STARTS)]


def files(desk: Desk) -> list[str]:
    return sorted(str(path.name) for path in Path(desk.settings.storage_url).rglob("*") if path.is_file())


async def outcome(desk: Desk, account_id: UUID, image_id: UUID, *, pictures: int | None = 0) -> Outcome:
    """Waits for the end, and that every side tells the same of it: the account's only job.

    `pictures` is how many files others have; `None` where that is not to be looked at."""

    async def is_over() -> bool:
        return not (await image_of(desk, image_id)).is_open and not await rows(
            desk, "SELECT 1 FROM operations.job_leases"
        )

    await until(is_over)
    image = await image_of(desk, image_id)
    ends = [topic for (topic,) in await rows(desk, _ENDS, image_id)]
    account = await account_of(desk, account_id)
    assert len(ends) == 1
    assert (image.picture is None) == (image.failure is not None)
    assert (account.balance, account.held) == (100 - COST * bool(image.picture), {})
    await until(lambda: (key_of(image_id) in files(desk)) == bool(image.picture))
    assert pictures is None or len(files(desk)) == pictures + bool(image.picture)
    return Outcome(ends[0], image.failure, image.attempts)


@asynccontextmanager
async def held_back(desk: Desk, url: str) -> AsyncIterator[None]:
    """This painter takes no job meanwhile, though it counts as one that answers."""
    painter, may_go_on = desk.room.painters.all[url], asyncio.Event()
    real = painter.is_there

    async def is_there() -> bool:
        await may_go_on.wait()
        return await real()

    painter.is_there = is_there  # type: ignore[method-assign]
    try:
        yield
    finally:
        may_go_on.set()
