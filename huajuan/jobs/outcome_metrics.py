"""How drawings end at a server, by kind, for metrics."""

from collections.abc import Callable

from huajuan.inference_client import (
    Cancelled,
    InferenceError,
    JobLost,
    OutcomeUnknown,
    Rejected,
    ServerUnavailable,
    TookTooLong,
)

# Of a server, by its address without credentials; the seconds since the job was sent, if this process sent it.
CountOutcome = Callable[[str, str, float | None], None]
DRAWN, CANCELLED = "drawn", "cancelled"
_KINDS: tuple[tuple[type[InferenceError], str], ...] = (
    (Rejected, "refused"),
    (Cancelled, CANCELLED),
    (JobLost, "lost"),
    (TookTooLong, "timed_out"),
    (ServerUnavailable, "unavailable"),
    (OutcomeUnknown, "unknown"),
)


def outcome_of(failure: InferenceError) -> str:
    return next((name for kind, name in _KINDS if isinstance(failure, kind)), "failed")


def count_nothing(server: str, outcome: str, seconds: float | None) -> None:
    """For a process without metrics."""
