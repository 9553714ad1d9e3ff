"""Position, progress and estimated end of a job, from its row and the queue."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from huajuan.http.generation_status import JobProgress, progress_of
from huajuan.jobs.queue import QueuePosition
from huajuan.projections.generations import GenerationRow

AT = datetime(2026, 11, 24, tzinfo=UTC)


def row(status: str) -> GenerationRow:
    return GenerationRow(UUID(int=1), UUID(int=2), 1, AT, 20, status)


@pytest.mark.parametrize(
    ("status", "place", "mean", "position", "eta", "progress"),
    [
        ("queued", QueuePosition(0, False, 0, 1), 10.0, 1, 20.0, 0),
        ("queued", QueuePosition(3, False, 0, 1), 10.0, 4, 50.0, 0),
        ("queued", QueuePosition(3, False, 0, 4), 10.0, 4, 20.0, 0),
        ("queued", QueuePosition(3, False, 0, 0), 10.0, 4, None, 0),
        ("queued", QueuePosition(3, False, 0, 4), None, 4, None, 0),
        ("queued", QueuePosition(0, True, 0.5, 1), 10.0, 0, 10.0, 0),
        ("queued", None, 10.0, None, None, 0),
        ("queued", QueuePosition(0, False, 0, 2), 10.0, 1, 15.0, 0),
        ("running", QueuePosition(0, True, 0.25, 2), 10.0, 0, 5.6, 0.25),
        ("running", QueuePosition(0, True, 7.0, 2), 10.0, 0, 0.0, 1.0),
        ("running", None, 10.0, 0, 10.0, 0),
        ("succeeded", QueuePosition(0, True, 0.5, 1), 10.0, None, None, 1.0),
        ("failed", None, 10.0, None, None, 0),
        ("cancelled", QueuePosition(2, False, 0, 1), 10.0, None, None, 0),
    ],
)
def test_standing(
    status: str,
    place: QueuePosition | None,
    mean: float | None,
    position: int | None,
    eta: float | None,
    progress: float,
) -> None:
    expected = JobProgress(position=position, eta_seconds=eta, progress=progress)
    assert progress_of(row(status), place, mean, AT) == expected


@pytest.mark.parametrize(
    ("progress", "took_seconds", "eta"),
    [
        (0.0, 0, 10.0),
        (0.0, 4, 6.0),
        (0.0, 9.5, 1.0),
        (0.0, 60, 1.0),  # no progress yet: it may be loading its model
        (0.25, 2.5, 7.5),
        (0.5, 60, 32.5),
        (0.9, 540, 54.1),
    ],
)
def test_a_job_slower_than_the_others_is_not_told_to_be_nearly_done(
    progress: float, took_seconds: float, eta: float
) -> None:
    slow = row("running")
    slow.started_at = AT
    place, now = QueuePosition(0, True, progress, 1), AT + timedelta(seconds=took_seconds)
    assert progress_of(slow, place, 10.0, now).eta_seconds == eta
