"""A job in hand: what this process does about it, at which painter, and how far it is."""

import asyncio

from huajuan.dispatch.painters import Painter
from huajuan.dispatch.queue import Claimed
from huajuan.fail_points import at


class JobInHand:
    """What this process does about one job, and how far it is."""

    def __init__(self, claimed: Claimed, painter: Painter) -> None:
        self.image_id = claimed.image_id
        self.claimed = claimed
        self.painter = painter
        self.progress = 0.0
        self.was_begun = False
        self.is_second_look = False
        self.is_told = False
        self.is_put_back = False
        self.task: asyncio.Task[None]

    def progressed(self, progress: float) -> None:
        self.progress = progress
        at("draw.progressed")

    def found_at(self, painter: Painter) -> None:
        """It was begun there before, and is only waited for."""
        self.painter, self.is_second_look = painter, True
