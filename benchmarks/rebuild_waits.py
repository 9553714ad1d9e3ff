"""Waiting times, and when they occurred."""

import statistics
import time

import msgspec

SWAP_SECONDS = 0.25


class Waits(msgspec.Struct):
    """The start and the seconds of each wait."""

    began: list[float] = msgspec.field(default_factory=list)
    taken: list[float] = msgspec.field(default_factory=list)

    def add(self, began: float) -> None:
        self.began.append(began)
        self.taken.append(time.perf_counter() - began)

    def between(self, after: float, upto: float) -> "Waits":
        """The waits that began in this interval."""
        those = [(b, t) for b, t in zip(self.began, self.taken, strict=True) if after < b <= upto]
        return Waits([b for b, _ in those], [t for _, t in those])

    def longest_about(self, moment: float) -> float:
        """The longest wait within `SWAP_SECONDS` of the moment."""
        near = [
            taken
            for began, taken in zip(self.began, self.taken, strict=True)
            if began - SWAP_SECONDS < moment < began + taken + SWAP_SECONDS
        ]
        return max(near, default=0)

    @property
    def p999(self) -> float:
        return statistics.quantiles(self.taken, n=1000)[-1]

    @property
    def longest(self) -> float:
        return max(self.taken)
