"""Why a picture is not even asked for. Nothing is charged."""


class QueueFull(Exception):
    """As many jobs are unfinished as may be, of this account or of everybody's."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(retry_after_seconds)
        self.retry_after_seconds = retry_after_seconds


class NobodyDraws(Exception):
    """No painter has answered for a while."""
