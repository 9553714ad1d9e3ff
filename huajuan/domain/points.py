"""What things cost and what a visit pays, in points."""

from huajuan.domain.refusals import PointsUnfit

PICTURE_COST = 20
CHECK_IN_REWARD = 100
# What one act of an admin may give or take.
ADJUSTMENT_MAX = 1_000_000


def check_adjustment(change: int) -> None:
    """Any number of points but none, up to a million either way."""
    if not 0 < abs(change) <= ADJUSTMENT_MAX:
        raise PointsUnfit
