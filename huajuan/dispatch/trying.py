"""What a failure says: of the painter, and of whether to try again."""

from datetime import datetime

from huajuan.dispatch.limits import DispatchLimits
from huajuan.dispatch.painters import Painter
from huajuan.domain.image import Image
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


def is_worth_another_try(
    image: Image, failure: InferenceError, now: datetime, limits: DispatchLimits, painters: int
) -> bool:
    """`painters` is how many answer. Nothing is begun after the deadline, or more than `attempts_max` times."""
    if now >= image.deadline:
        return False
    spent = image.attempts >= limits.attempts_max
    return may_yet_be_drawn(failure) or (not spent and may_be_tried_again(failure, painters))


def may_yet_be_drawn(failure: InferenceError) -> bool:
    """Nothing final was said, so that there is only to wait, until the deadline."""
    return not isinstance(failure, DrawingFailed)


def may_be_tried_again(failure: InferenceError, painters: int) -> bool:
    """What one painter cannot do another may: it may have the model, or the memory."""
    if isinstance(failure, JobLost) or _hangs(failure):
        return True
    return painters > 1 and not isinstance(failure, Cancelled | TookTooLong)


def leads_nowhere(failure: InferenceError, *, is_second_look: bool) -> bool:
    """What the painter has of the job: it says so, or twice it said nothing clear of it."""
    return isinstance(failure, DrawingFailed) or is_second_look


def avoided_seconds(painter: Painter, failure: InferenceError, limits: DispatchLimits) -> float:
    """How long a job that is put back keeps away from the painter: for its rest, or long if it cannot draw it."""
    cannot = isinstance(failure, DrawingFailed) and not painter.rest_seconds
    return limits.rest_seconds_max if cannot else max(painter.rest_seconds, limits.rest_seconds_min)


def _hangs(failure: InferenceError) -> bool:
    return isinstance(failure, TookTooLong) and failure.worker_stuck
