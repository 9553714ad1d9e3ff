"""Health checks: each component reports its problems, which `/readyz` and the metrics show."""

from collections.abc import Callable, Iterable

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """`name` is a stable identifier, `detail` one English sentence without secrets.

    A `blocking` problem makes the service not ready (503); any other makes it degraded (200).
    """

    name: str
    detail: str
    blocking: bool


Check = Callable[[], Iterable[Problem]]


class HealthChecks(list[Check]):
    """One per process. A check does no I/O: it reports the state that a background task keeps."""

    def problems(self) -> list[Problem]:
        return [problem for check in self for problem in check()]
