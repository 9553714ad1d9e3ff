"""What a failure says: of the painter, and of whether to try again."""

from datetime import datetime

from huajuan.domain.image import Image
from huajuan.inference_client import (
    Cancelled,
    DrawingFailed,
    InferenceError,
    JobLost,
    OutcomeUnknown,
    Rejected,
    ServerUnavailable,
    TookTooLong,
)
from huajuan.jobs.limits import DispatchLimits
from huajuan.jobs.servers import Painter


def judge(painter: Painter, failure: InferenceError, image: Image) -> None:
    """It rests if it is gone; a job that failed counts against it only with others. A refusal is no failure."""
    if isinstance(failure, ServerUnavailable | OutcomeUnknown):
        painter.failed(failure, answers=False)
    elif isinstance(failure, Rejected):
        painter.refused(failure)
    elif is_servers_failure(failure):
        if may_come_back(failure):
            painter.doubted(failure)
        painter.failed_in(image.id, image.account_id, failure)


def is_servers_failure(failure: InferenceError) -> bool:
    """Whether it is the server that failed in a job, whosever fault that is: nobody stopped it."""
    is_stopped = isinstance(failure, TookTooLong) and not failure.worker_stuck
    return (
        isinstance(failure, DrawingFailed)
        and not is_stopped
        and not isinstance(failure, Rejected | Cancelled)
    )


def may_come_back(failure: InferenceError) -> bool:
    """Whether the server that failed in the job may do better next time, if no other server can have it."""
    return not isinstance(failure, DrawingFailed) or isinstance(failure, JobLost) or _hangs(failure)


def may_have_begun(failure: InferenceError) -> bool:
    """Whether a job that was sent, and was not seen to be accepted, counts as an attempt."""
    return not isinstance(failure, Rejected | Cancelled)


def is_worth_another_try(
    image: Image, failure: InferenceError, now: datetime, limits: DispatchLimits, left: int
) -> bool:
    """`left` is how many servers may still have it. Nothing is begun after the deadline, or more than
    `attempts_max` times."""
    may_begin = now < image.deadline and image.attempts < limits.attempts_max
    return may_yet_be_drawn(failure) or (may_begin and may_be_tried_again(failure, left))


def may_yet_be_drawn(failure: InferenceError) -> bool:
    """Nothing final was said, so that there is only to wait, until the deadline."""
    return not isinstance(failure, DrawingFailed)


def may_be_tried_again(failure: InferenceError, left: int) -> bool:
    """What one painter cannot do another may: it may have the model, or the memory."""
    if may_come_back(failure):
        return True
    return left > 0 and not isinstance(failure, Cancelled | TookTooLong)


def leads_nowhere(failure: InferenceError, *, is_second_look: bool) -> bool:
    """What the painter has of the job: it says so, or twice it said nothing clear of it."""
    return isinstance(failure, DrawingFailed) or is_second_look


def avoided_seconds(painter: Painter, limits: DispatchLimits) -> float:
    """How long a job that is put back keeps away from the painter, where no other one answers."""
    return max(painter.rest_seconds, limits.rest_seconds_min)


def _hangs(failure: InferenceError) -> bool:
    return isinstance(failure, TookTooLong) and failure.worker_stuck
