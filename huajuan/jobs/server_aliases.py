"""Notices one server under two addresses: a job that was sent to one of them alone is known at the other."""

import asyncio
from contextlib import suppress
from uuid import UUID

import structlog

from huajuan.inference_client import InferenceError, JobState
from huajuan.jobs.servers import Painter, Painters

_logger = structlog.get_logger(__name__)


class Twins:
    """Each pair is looked at once. It is only told of: behind one of the addresses there may be more servers."""

    def __init__(self, painters: Painters) -> None:
        self._painters = painters
        self._looked_at: set[frozenset[str]] = set()

    def not_looked_at(self, drew: Painter) -> list[Painter]:
        others = [p for p in self._painters.all.values() if p is not drew and p.answers]
        return [other for other in others if _pair(drew, other) not in self._looked_at]

    async def notice(self, drew: Painter, image_id: UUID, seconds_max: float) -> None:
        """Best effort, while the painter that drew still has the job on its books. It was sent there alone."""
        for other in self.not_looked_at(drew):
            with suppress(InferenceError, TimeoutError):
                async with asyncio.timeout(seconds_max):
                    state = await other.host.find(image_id)
                self._looked_at.add(_pair(drew, other))
                if state is not JobState.UNKNOWN:
                    _logger.error("one painter under two addresses", hosts=sorted(_pair(drew, other)))
        here = self._painters.all.keys()
        self._looked_at = {pair for pair in self._looked_at if pair <= here}


def _pair(one: Painter, other: Painter) -> frozenset[str]:
    return frozenset((one.url, other.url))
