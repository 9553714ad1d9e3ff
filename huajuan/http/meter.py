"""Counts and times this worker's requests, by route and status."""

import os

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

# A client's own words are no label: there would be no end of them.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
OTHER = "other"
BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
disable_created_metrics()  # type: ignore[no-untyped-call]


class Meter:
    """One a worker; `worker` is its process number, so that its series are told from the others'."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.worker = str(os.getpid())
        self._requests = Counter(
            "huajuan_http_requests_total",
            "Requests that this worker answered.",
            ["worker", "method", "route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "huajuan_http_request_seconds",
            "How long this worker took to answer.",
            ["worker", "route"],
            buckets=BUCKETS_SECONDS,
            registry=self.registry,
        )
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """`route` is a template; a status of 0 is a request whose client went away."""
        key = (method, route, status)
        series = self._known.get(key) or self._meet(key)
        series[0].inc()
        series[1].observe(seconds)

    def _meet(self, key: tuple[str, str, int]) -> tuple[Counter, Histogram]:
        method, route, status = key
        shown = method if method in METHODS else OTHER
        series = (
            self._requests.labels(self.worker, shown, route, str(status)),
            self._seconds.labels(self.worker, route),
        )
        if shown == method:
            self._known[key] = series
        return series
