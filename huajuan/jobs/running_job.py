"""A job that this process runs: at which server, and how far it is."""

import asyncio

from huajuan.jobs.queue import ClaimedJob
from huajuan.jobs.servers import InferenceServer
from huajuan.runtime.fail_points import at

# A row begins with fencing number 1, and each claim adds 1.
FIRST_CLAIM = 2


class RunningJob:
    """The state of one claimed job in this process."""

    def __init__(self, claimed: ClaimedJob, server: InferenceServer) -> None:
        self.image_id = claimed.image_id
        self.claimed = claimed
        self._claimed_at = asyncio.get_running_loop().time()
        self.server = server
        self.progress = 0.0
        # The log has an earlier attempt.
        self.was_started_before = False
        # The job was found at a server that has it from an earlier attempt.
        self.is_resumed = False
        self.is_started = False
        # From here on the job is not stopped any more.
        self.is_ending = False
        self.is_requeued = False
        self._sent_at: float | None = None
        self.task: asyncio.Task[None]

    @property
    def failed_at(self) -> float | None:
        """When a server last failed in the job, by the event loop's clock."""
        seconds = self.claimed.failed_seconds
        return None if seconds is None else self._claimed_at - seconds

    @property
    def may_be_known(self) -> bool:
        """Whether a server may have the job from an earlier holder."""
        return self.was_started_before or self.claimed.fencing > FIRST_CLAIM

    def report_progress(self, progress: float) -> None:
        self.progress = progress
        at("draw.progressed")

    @property
    def was_at_server(self) -> bool:
        """Whether the outcome is evidence about the server."""
        return self.is_resumed or self.seconds is not None

    @property
    def seconds(self) -> float | None:
        """Since this process sent the job; `None` if it did not."""
        return None if self._sent_at is None else asyncio.get_running_loop().time() - self._sent_at

    def mark_sent(self) -> None:
        self._sent_at = asyncio.get_running_loop().time()

    def resume_at(self, server: InferenceServer) -> None:
        """The job was sent to this server before, and is only waited for."""
        self.server, self.is_resumed = server, True
