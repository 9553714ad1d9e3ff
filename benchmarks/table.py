"""The benchmark's table: a row is a ratio against a named comparator, with its goal."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

from benchmarks.measuring import Spread, brief

HEADINGS = ("what", "against", "ours", "theirs", "ours / theirs", "goal", "holds")


class Goal(NamedTuple):
    """The minimum or maximum of the median ratio; without both there is no goal."""

    least: float | None = None
    most: float | None = None

    def holds(self, ratio: float) -> bool:
        return (self.least is None or ratio >= self.least) and (self.most is None or ratio <= self.most)

    def __str__(self) -> str:
        if self.least is not None:
            return f"≥ {self.least:g}"
        return "–" if self.most is None else f"≤ {self.most:g}"


NO_GOAL = Goal()


class Row(NamedTuple):
    """`ours` and `theirs` are medians with their unit; `ratio` is the spread of ratios within rounds."""

    what: str
    against: str
    ours: str
    theirs: str
    ratio: Spread
    goal: Goal = NO_GOAL

    @classmethod
    def of(
        cls,
        what: str,
        against: str,
        ours: Sequence[float],
        theirs: Sequence[float],
        unit: str,
        goal: Goal = NO_GOAL,
    ) -> Self:
        """From the measurements of both sides, one of each per round."""
        ratio = Spread.of(a / b for a, b in zip(ours, theirs, strict=True))
        return cls(what, against, with_unit(ours, unit), with_unit(theirs, unit), ratio, goal)

    @property
    def verdict(self) -> str:
        if self.goal == NO_GOAL:
            return ""
        return "yes" if self.goal.holds(self.ratio.median) else "**no**"


def with_unit(values: Iterable[float], unit: str) -> str:
    """The median; seconds are shown in milliseconds."""
    median = Spread.of(values).median
    if unit == "s":
        return f"{brief(median * 1000)} ms"
    number = f"{median:,.0f}" if median >= 1000 else brief(median)
    return f"{number}{unit}" if unit.startswith("/") else f"{number} {unit}"


def table(rows: Iterable[Row]) -> str:
    """In Markdown, with columns that are also aligned on a terminal."""
    cells = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = tuple("-" * width for width in widths)
    return "\n".join(_line(one, widths) for one in (cells[0], rule, *cells[1:]))


def _cells(row: Row) -> tuple[str, ...]:
    return (row.what, row.against, row.ours, row.theirs, _ratio(row.ratio), str(row.goal), row.verdict)


def _ratio(spread: Spread) -> str:
    """Two digits after the point, like the goals."""
    median, low, high = (f"{ratio:.{0 if ratio >= 100 else 1 if ratio >= 10 else 2}f}" for ratio in spread)
    return f"{median} [{low}–{high}]"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    placed = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(placed)} |"
