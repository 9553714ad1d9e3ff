"""The consequences of a failure: for the server's circuit breaker, and for another attempt at the job."""

from datetime import datetime

from huajuan.domain.image import Image
from huajuan.inference_client import (
    DrawingFailed,
    InferenceError,
    JobCancelled,
    JobLost,
    JobTimeout,
    OutcomeUnknown,
    ServerUnavailable,
    WorkflowRejected,
)
from huajuan.jobs.queue import DispatchLimits
from huajuan.jobs.servers import InferenceServer


def report_failure(server: InferenceServer, failure: InferenceError, image: Image) -> None:
    """Tell the server's circuit breaker. A rejected workflow is no failure of the server."""
    if isinstance(failure, ServerUnavailable | OutcomeUnknown):
        server.record_unavailable(failure, is_reachable=False)
    elif isinstance(failure, WorkflowRejected):
        server.record_rejection(failure)
    elif is_server_failure(failure):
        if may_resume(failure):
            server.half_open(failure)
        server.record_job_failure(image.id, image.account_id, failure)


def is_server_failure(failure: InferenceError) -> bool:
    """Whether the server failed in the job: it was neither stopped nor rejected."""
    if isinstance(failure, JobTimeout):
        return failure.worker_stuck
    return isinstance(failure, DrawingFailed) and not isinstance(failure, WorkflowRejected | JobCancelled)


def may_resume(failure: InferenceError) -> bool:
    """Whether the same server may draw the job at the next attempt."""
    is_stuck = isinstance(failure, JobTimeout) and failure.worker_stuck
    return not isinstance(failure, DrawingFailed) or isinstance(failure, JobLost) or is_stuck


def counts_as_attempt(failure: InferenceError) -> bool:
    """Whether a job that was sent, but not seen to be accepted, uses up an attempt."""
    return not isinstance(failure, WorkflowRejected | JobCancelled)


def should_retry(
    image: Image, failure: InferenceError, now: datetime, limits: DispatchLimits, servers_left: int
) -> bool:
    """`servers_left` is how many servers may still draw the job.

    A job whose outcome is unknown is always retried, until its deadline. Another one starts at most
    `attempts_max` times: again at the same server, or at a server that may have the model or the memory that
    this one lacks.
    """
    if not isinstance(failure, DrawingFailed):
        return True
    if now >= image.deadline or image.attempts >= limits.attempts_max:
        return False
    return may_resume(failure) or (servers_left > 0 and not isinstance(failure, JobCancelled | JobTimeout))
