"""What can go wrong between asking for a picture and holding it, and what a caller may conclude from it.

InferenceError
├── DrawingFailed         final: no picture will come, what was paid can be given back
│   ├── Rejected          the server refused the graph; sending it again would change nothing
│   ├── BadPicture        the job ended well, but what it left is not the picture asked for
│   ├── Cancelled         somebody stopped the job
│   ├── JobLost           the server no longer knows (or never knew) the job: a restart, a cleared queue
│   └── TookTooLong       a time limit passed and the job was told to stop
├── ServerUnavailable     nothing was queued by this call: another server may be asked
└── OutcomeUnknown        cannot tell whether the job runs: say nothing now, `finish` it later
"""


class InferenceError(Exception):
    """Any failure of this library.

    `reason` is one short sentence fit for an end user. `detail` is for the log only: it may hold
    what the server said, paths and traces included.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class DrawingFailed(InferenceError):
    """The job ended without the picture, for good."""


class Rejected(DrawingFailed):
    """The graph was refused before anything was drawn; `is_unlisted` when it names what the server does not have."""

    def __init__(self, reason: str, detail: str = "", *, is_unlisted: bool = False) -> None:
        super().__init__(reason, detail)
        self.is_unlisted = is_unlisted


class BadPicture(DrawingFailed):
    """The picture is missing, damaged, too large or of another size than asked."""


class Cancelled(DrawingFailed):
    """The job was stopped on somebody's request."""


class JobLost(DrawingFailed):
    """The server knows the job neither in its queue nor in its history."""


class TookTooLong(DrawingFailed):
    """A limit of time passed; `worker_stuck` says that nothing moved there, or that even the request to stop had no
    effect."""

    def __init__(self, reason: str, detail: str = "", *, worker_stuck: bool = False) -> None:
        super().__init__(reason, detail)
        self.worker_stuck = worker_stuck


class ServerUnavailable(InferenceError):
    """This call queued nothing. An earlier `draw` of the same id may have: then `finish`, don't move on."""


class OutcomeUnknown(InferenceError):
    """The server stopped answering at a moment when the job may be queued or running."""
