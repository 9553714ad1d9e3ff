"""A job in hand: what this process does about it, at which painter, and how far it is."""

import asyncio

from huajuan.jobs.queue import Claimed
from huajuan.jobs.servers import Painter
from huajuan.runtime.fail_points import at

# A job's row begins with 1, and each claim adds 1.
FIRST_CLAIM = 2


class JobInHand:
    """What this process does about one job, and how far it is."""

    def __init__(self, claimed: Claimed, painter: Painter) -> None:
        self.image_id = claimed.image_id
        self.claimed = claimed
        self._claimed_at = asyncio.get_running_loop().time()
        self.painter = painter
        self.progress = 0.0
        self.was_begun = False
        self.is_second_look = False
        self.is_started = False
        self.is_told = False
        self.is_put_back = False
        self._sent_at: float | None = None
        self.task: asyncio.Task[None]

    @property
    def failed_at(self) -> float | None:
        """When the last server failed in it before, by the clock of the event loop."""
        seconds = self.claimed.failed_seconds
        return None if seconds is None else self._claimed_at - seconds

    @property
    def may_be_known(self) -> bool:
        """Whether a server may have it from an earlier holder, who may have died before that was on record."""
        return self.was_begun or self.claimed.fencing > FIRST_CLAIM

    def progressed(self, progress: float) -> None:
        self.progress = progress
        at("draw.progressed")

    @property
    def is_sent(self) -> bool:
        return self._sent_at is not None

    @property
    def was_at_server(self) -> bool:
        """Whether what became of it says anything of the server."""
        return self.is_sent or self.is_second_look

    @property
    def seconds(self) -> float | None:
        """Since it was sent; `None` for one that was sent by another process."""
        return None if self._sent_at is None else asyncio.get_running_loop().time() - self._sent_at

    def sent(self) -> None:
        self._sent_at = asyncio.get_running_loop().time()

    def found_at(self, painter: Painter) -> None:
        """It was begun there before, and is only waited for."""
        self.painter, self.is_second_look = painter, True
