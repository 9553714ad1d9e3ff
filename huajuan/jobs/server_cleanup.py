"""What is left at the painters when a job has ended: a record that nobody needs, or another run of the same job."""

import asyncio
from contextlib import suppress
from uuid import UUID

from huajuan.inference_client import InferenceError, JobState
from huajuan.jobs.servers import Painter, Painters

LOOK_PAUSE_SECONDS = 0.1
UNDER_WAY = frozenset({JobState.QUEUED, JobState.RUNNING})


async def leave_tidy(
    painters: Painters, image_id: UUID, drew: Painter | None, elsewhere: bool, seconds_max: float
) -> None:
    """Best effort, once the end is on record: the painter that drew forgets the job, any other stops it."""
    others = [painter for painter in painters.all.values() if painter is not drew] if elsewhere else []
    stops = [stop(painter, image_id, seconds_max) for painter in others]
    await asyncio.gather(*([_forgotten(drew, image_id, seconds_max)] if drew else []), *stops)


async def stop(painter: Painter, image_id: UUID, seconds_max: float) -> None:
    """Best effort. A job which has ended, or is unknown there, is left alone."""
    with suppress(InferenceError, TimeoutError):
        async with asyncio.timeout(seconds_max):
            await painter.host.cancel(image_id)


async def forget_stopped(painter: Painter, image_id: UUID, seconds_max: float) -> None:
    """Best effort, after `stop`: the record of a job that nobody wanted any more holds its prompt and its graph."""
    with suppress(InferenceError, TimeoutError):
        async with asyncio.timeout(seconds_max):
            state = await painter.host.find(image_id)
            while state in UNDER_WAY:
                await asyncio.sleep(LOOK_PAUSE_SECONDS)
                state = await painter.host.find(image_id)
            await painter.host.forget(image_id)


async def _forgotten(painter: Painter, image_id: UUID, seconds_max: float) -> None:
    with suppress(InferenceError, TimeoutError):
        async with asyncio.timeout(seconds_max):
            await painter.host.forget(image_id)
