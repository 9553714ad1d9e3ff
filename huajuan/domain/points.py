"""What things cost and what a visit pays, in points."""

from huajuan.domain.refusals import BalanceOutOfRange, PointsUnfit

PICTURE_COST = 20
CHECK_IN_REWARD = 100
# What one act of an admin may give or take.
ADJUSTMENT_MAX = 1_000_000
# What an account may have, or owe: sums of it fit the database's integers and a client's exact numbers.
BALANCE_MAX = 10**12


def check_adjustment(change: int) -> None:
    """Any number of points but none, up to a million either way."""
    if not 0 < abs(change) <= ADJUSTMENT_MAX:
        raise PointsUnfit


def check_moved(points: int) -> None:
    """What one fact may grant or deduct."""
    if not 0 < points <= ADJUSTMENT_MAX:
        raise PointsUnfit


def check_most(points: int) -> None:
    """Of an account's points those that are held count too, for they may return."""
    if points > BALANCE_MAX:
        raise BalanceOutOfRange


def check_least(balance: int) -> None:
    if balance < -BALANCE_MAX:
        raise BalanceOutOfRange
