"""The exceptions of the client, and what a caller may conclude from each.

InferenceError
├── DrawingFailed         final: there will be no picture
│   ├── WorkflowRejected  the server rejected the graph; sending it again would change nothing
│   ├── InvalidPicture    the job succeeded, but its output is not the requested picture
│   ├── JobCancelled      the job was stopped on request
│   ├── JobLost           the server does not know the job: it was restarted, or its queue was cleared
│   └── JobTimeout        a time limit passed, and the job was cancelled
├── ServerUnavailable     this call submitted nothing: another server may be tried
└── OutcomeUnknown        the job may be running: `finish` it later
"""


class InferenceError(Exception):
    """The base class of this package's exceptions.

    `reason` is one short sentence that end users may read. `detail` is for logs only: it may hold the
    server's response, with paths and tracebacks.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class DrawingFailed(InferenceError):
    """The job ended without a picture."""


class WorkflowRejected(DrawingFailed):
    """The graph was rejected before drawing.

    `is_unlisted`: it names a value that the server does not list.
    """

    def __init__(self, reason: str, detail: str = "", *, is_unlisted: bool = False) -> None:
        super().__init__(reason, detail)
        self.is_unlisted = is_unlisted


class InvalidPicture(DrawingFailed):
    """The picture is missing, damaged, too large or of the wrong size."""


class JobCancelled(DrawingFailed):
    """The job was stopped on request."""


class JobLost(DrawingFailed):
    """The job is neither in the server's queue nor in its history."""


class JobTimeout(DrawingFailed):
    """A time limit passed. `worker_stuck`: the server made no progress, or the cancellation had no effect."""

    def __init__(self, reason: str, detail: str = "", *, worker_stuck: bool = False) -> None:
        super().__init__(reason, detail)
        self.worker_stuck = worker_stuck


class ServerUnavailable(InferenceError):
    """This call submitted nothing. If an earlier `draw` of the same id may have, use `finish`."""


class OutcomeUnknown(InferenceError):
    """The server stopped answering while the job may be queued or running."""
