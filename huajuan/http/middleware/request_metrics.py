"""Metrics of a worker: requests, inference servers, state. The workers of one server share their series."""

import math
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
from huajuan.jobs.outcomes import DRAWN
from huajuan.jobs.servers import InferenceServer
from huajuan.runtime.health import Problem

# Other methods share one label, so that clients cannot create series.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
OTHER = "other"
BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
# The client library's setting: if set, each worker writes its series into files of this folder.
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
COLLECT_TRIES = 5
_WORKER_FILE = re.compile(r".*_([0-9]+)\.db")
DRAWING_BUCKETS_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
disable_created_metrics()  # type: ignore[no-untyped-call]


class ServerMetrics:
    """Series by inference server; the label `server` is its URL without credentials."""

    def __init__(self, registry: CollectorRegistry, worker: str) -> None:
        self._worker = worker
        self._drawings = Counter(
            "huajuan_drawings_total",
            "Jobs that this worker sent to an inference server, by what became of them there.",
            ["worker", "server", "outcome"],
            registry=registry,
        )
        self._drawing_seconds = Histogram(
            "huajuan_drawing_seconds",
            "From sending a job to its picture, its wait in the server's own queue included.",
            ["worker", "server"],
            buckets=DRAWING_BUCKETS_SECONDS,
            registry=registry,
        )
        self._server_up = _server_gauge(
            registry, "huajuan_server_up", "1 while the inference server answers."
        )
        self._cooldown = _server_gauge(
            registry,
            "huajuan_server_cooldown",
            "1 while the circuit of the inference server is open or half-open in this worker.",
        )
        self._known: frozenset[str] = frozenset()

    def count(self, server: str, outcome: str, seconds: float | None) -> None:
        """`seconds` is since the job was sent, if this worker sent it."""
        self._drawings.labels(self._worker, server, outcome).inc()
        if outcome == DRAWN and seconds is not None:
            self._drawing_seconds.labels(self._worker, server).observe(seconds)

    def refresh(self, servers: Iterable[InferenceServer]) -> None:
        """Set the state of each server. A series cannot be removed; that of a removed server becomes NaN."""
        found = {server.url: server for server in servers}
        for url, server in found.items():
            self._server_up.labels(self._worker, url).set(server.is_reachable is not False)
            self._cooldown.labels(self._worker, url).set(not server.is_circuit_closed)
        for url in self._known - found.keys():
            self._server_up.labels(self._worker, url).set(math.nan)
            self._cooldown.labels(self._worker, url).set(math.nan)
        self._known |= found.keys()


class WorkerMetrics:
    """One per worker; the label `worker` is its process id."""

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
        self._servers = ServerMetrics(self.registry, self.worker)
        self._remembered_before = 0
        self._problems_before: frozenset[tuple[str, bool]] = frozenset()
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """`route` is a path template; status 0 is a request whose client disconnected."""
        key = (method, route, status)
        series = self._series.get(key) or self._add_series(key)
        series[0].inc()
        series[1].observe(seconds)

    def count_drawing(self, server: str, outcome: str, seconds: float | None) -> None:
        self._servers.count(server, outcome, seconds)

    def refresh_servers(self, servers: Iterable[InferenceServer]) -> None:
        self._servers.refresh(servers)

    def refresh(
        self, *, projector_alive: bool, problems: list[Problem], remembered: int, clock_behind_seconds: float
    ) -> None:
        """Set the gauges of this worker. `remembered` counts cached responses since its start."""
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

    def _add_series(self, key: tuple[str, str, int]) -> tuple[Counter, Histogram]:
        method, route, status = key
        shown = method if method in METHODS else OTHER
        series = (
            self._requests.labels(self.worker, shown, route, str(status)),
            self._seconds.labels(self.worker, route),
        )
        if shown == method:
            self._series[key] = series
        return series


def _collected(folder: Path) -> bytes:
    """Retry if another worker removes the files of a dead one meanwhile."""
    for _ in range(COLLECT_TRIES):
        _remove_files_of_dead_workers(folder)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
        with suppress(FileNotFoundError):
            return generate_latest(registry)
    return b""


def _remove_files_of_dead_workers(folder: Path) -> None:
    for path in folder.iterdir():
        found = _WORKER_FILE.fullmatch(path.name)
        if found and not exists(int(found[1])):
            path.unlink(missing_ok=True)


def _server_gauge(registry: CollectorRegistry, name: str, text: str) -> Gauge:
    return Gauge(name, text, ["worker", "server"], registry=registry, multiprocess_mode="mostrecent")
