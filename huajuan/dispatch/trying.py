"""What a failure says: of the painter, and of whether to try again."""

from huajuan.dispatch.painters import Painter
from huajuan.inference_client import (
    Cancelled,
    DrawingFailed,
    InferenceError,
    JobLost,
    OutcomeUnknown,
    ServerUnavailable,
    TookTooLong,
)


def judge(painter: Painter, failure: InferenceError) -> None:
    """It rests if it is gone, has forgotten a job, or hangs in one; a picture it cannot draw says nothing of it."""
    if isinstance(failure, ServerUnavailable | OutcomeUnknown):
        painter.failed(failure, answers=False)
    elif isinstance(failure, JobLost) or _hangs(failure):
        painter.failed(failure, answers=True)


def may_yet_be_drawn(failure: InferenceError) -> bool:
    """Nothing final was said, so that there is only to wait, until the deadline."""
    return not isinstance(failure, DrawingFailed)


def may_be_tried_again(failure: InferenceError, painters: int) -> bool:
    """What one painter cannot do another may: it may have the model, or the memory."""
    if isinstance(failure, JobLost) or _hangs(failure):
        return True
    return painters > 1 and not isinstance(failure, Cancelled | TookTooLong)


def _hangs(failure: InferenceError) -> bool:
    return isinstance(failure, TookTooLong) and failure.worker_stuck
