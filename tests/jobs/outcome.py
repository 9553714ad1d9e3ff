"""Checks the end of a job in the log, the points, the queue and the files."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from huajuan.commands.generate_image import request_image
from huajuan.domain.image import Image, ImageParameters
from huajuan.http.services import Services
from huajuan.jobs.queue import DispatchLimits
from huajuan.storage.pictures import picture_key
from tests.commands.people import account_of
from tests.inference_client.conftest import limits
from tests.services import until

SMALL = ImageParameters("moon over a lake", 48, 48, 3, "DDIM", "7")
COST = 20
BRISK = DispatchLimits(
    claim_interval_seconds=0.05, cooldown_seconds_min=0.05, cooldown_seconds_max=0.4,
    overdue_interval_seconds=0.1,
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
    """The event that ended the job, the reason of a failure, and the number of attempts."""

    topic: str
    reason: str | None
    attempts: int


async def asked(services: Services, account_id: UUID, order: ImageParameters = SMALL) -> UUID:
    image_id = uuid4()
    await request_image(services.job_runner, account_id, image_id, order)
    return image_id


async def image_of(services: Services, image_id: UUID) -> Image:
    image = await services.store.find(Image, image_id)
    assert image
    return image


async def rows(services: Services, statement: str, *values: object) -> list[tuple[Any, ...]]:
    async with services.store._pool.connection() as connection:
        return await (await connection.execute(statement.encode(), values)).fetchall()


async def starts(services: Services) -> list[UUID]:
    """The images that were started, in log order."""
    return [image_id for (image_id,) in await rows(services, _STARTS)]


def files(services: Services) -> list[str]:
    return sorted(str(path.name) for path in Path(services.settings.storage_url).rglob("*") if path.is_file())


async def outcome(
    services: Services, account_id: UUID, image_id: UUID, *, pictures: int | None = 0
) -> Outcome:
    """Wait for the end of the account's only job, and check that log, points, queue and files agree.

    `pictures` is how many files others have; `None` where that is not to be looked at."""

    async def is_over() -> bool:
        return not (await image_of(services, image_id)).is_open and not await rows(
            services, "SELECT 1 FROM operations.job_leases"
        )

    await until(is_over)
    image = await image_of(services, image_id)
    ends = [topic for (topic,) in await rows(services, _ENDS, image_id)]
    account = await account_of(services, account_id)
    assert len(ends) == 1
    assert (image.picture is None) == (image.failure is not None)
    assert (account.balance, account.held) == (100 - COST * bool(image.picture), {})
    await until(lambda: (picture_key(image_id) in files(services)) == bool(image.picture))
    assert pictures is None or len(files(services)) == pictures + bool(image.picture)
    return Outcome(ends[0], image.failure, image.attempts)


@asynccontextmanager
async def held_back(services: Services, url: str) -> AsyncIterator[None]:
    """The server claims no job during the block, although it counts as reachable."""
    server, may_go_on = services.job_runner.servers.all[url], asyncio.Event()
    real = server.ensure_reachable

    async def ensure_reachable() -> bool:
        await may_go_on.wait()
        return await real()

    server.ensure_reachable = ensure_reachable  # type: ignore[method-assign]
    try:
        yield
    finally:
        may_go_on.set()
