"""Counts and times requests by route and status; the workers of one server share what they counted."""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from huajuan.embedded_postgres.processes import exists
from huajuan.http.routes.server_metrics import ServerSeries
from huajuan.jobs.servers import Painter
from huajuan.observability.health import Problem

# A client's own words are no label: there would be no end of them.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
OTHER = "other"
BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
# The library's own setting: where it is set, each worker keeps its series in files of this folder.
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
COLLECT_TRIES = 5
_WORKER_FILE = re.compile(r".*_([0-9]+)\.db")
disable_created_metrics()  # type: ignore[no-untyped-call]


class Meter:
    """One per worker; `worker` is its process number, by which its series are told from the others'."""

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
        self._alive = self._gauge("huajuan_projector_alive", "1 while this worker runs its projections.")
        self._clock_behind = self._gauge(
            "huajuan_clock_behind_seconds", "How far the clock is behind the newest fact known."
        )
        self._problem = self._gauge(
            "huajuan_problem", "1 for each problem that this worker knows of.", "name", "blocking"
        )
        self._remembered = Counter(
            "huajuan_replies_remembered",
            "Replies that this worker told from memory.",
            ["worker"],
            registry=self.registry,
        )
        self._servers = ServerSeries(self.registry, self.worker)
        self._remembered_before = 0
        self._problems_before: frozenset[tuple[str, bool]] = frozenset()
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """`route` is a template; a status of 0 is a request whose client went away."""
        key = (method, route, status)
        series = self._known.get(key) or self._meet(key)
        series[0].inc()
        series[1].observe(seconds)

    def count_drawing(self, server: str, outcome: str, seconds: float | None) -> None:
        self._servers.count(server, outcome, seconds)

    def refresh_servers(self, servers: Iterable[Painter]) -> None:
        self._servers.refresh(servers)

    def refresh(
        self, *, projector_alive: bool, problems: list[Problem], remembered: int, clock_behind_seconds: float
    ) -> None:
        """Take over the state of this worker. `remembered` counts from its start."""
        self._clock_behind.labels(self.worker).set(clock_behind_seconds)
        self._alive.labels(self.worker).set(projector_alive)
        self._remembered.labels(self.worker).inc(remembered - self._remembered_before)
        self._remembered_before = remembered
        now = frozenset((problem.name, problem.blocking) for problem in problems)
        for name, blocking in now | self._problems_before:
            series = self._problem.labels(self.worker, name, str(blocking).lower())
            series.set((name, blocking) in now)
        self._problems_before |= now

    def exposition(self) -> bytes:
        """The series of all workers of this server, as Prometheus reads them."""
        folder = os.environ.get(FOLDER)
        return _collected(Path(folder)) if folder else generate_latest(self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, ["worker", *labels], registry=self.registry, multiprocess_mode="mostrecent")

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


def _collected(folder: Path) -> bytes:
    """Another worker may remove the files of a dead one meanwhile; then they are collected again."""
    for _ in range(COLLECT_TRIES):
        _remove_those_of_dead_workers(folder)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
        with suppress(FileNotFoundError):
            return generate_latest(registry)
    return b""


def _remove_those_of_dead_workers(folder: Path) -> None:
    for path in folder.iterdir():
        found = _WORKER_FILE.fullmatch(path.name)
        if found and not exists(int(found[1])):
            path.unlink(missing_ok=True)
