"""The series of `/metrics` about inference servers and what they draw, as one worker sees them."""

import math
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from huajuan.jobs.outcome_metrics import DRAWN
from huajuan.jobs.servers import Painter

DRAWING_BUCKETS_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


class ServerSeries:
    """`server` is an address without credentials: there are as many as the setting and admins name."""

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
        self._server_up = _gauge(registry, "huajuan_server_up", "1 while the inference server answers.")
        self._cooldown = _gauge(
            registry,
            "huajuan_server_cooldown",
            "1 while the circuit of the inference server is open or half-open in this worker.",
        )
        self._before: frozenset[str] = frozenset()

    def count(self, server: str, outcome: str, seconds: float | None) -> None:
        """`seconds` is since the job was sent, if this worker sent it."""
        self._drawings.labels(self._worker, server, outcome).inc()
        if outcome == DRAWN and seconds is not None:
            self._drawing_seconds.labels(self._worker, server).observe(seconds)

    def refresh(self, servers: Iterable[Painter]) -> None:
        """The state of each. A series cannot be taken back, so that of a server that draws no more is not a number."""
        found = {server.url: server for server in servers}
        for url, server in found.items():
            self._server_up.labels(self._worker, url).set(server.answers is not False)
            self._cooldown.labels(self._worker, url).set(not server.is_proven)
        for url in self._before - found.keys():
            self._server_up.labels(self._worker, url).set(math.nan)
            self._cooldown.labels(self._worker, url).set(math.nan)
        self._before |= found.keys()


def _gauge(registry: CollectorRegistry, name: str, text: str) -> Gauge:
    return Gauge(name, text, ["worker", "server"], registry=registry, multiprocess_mode="mostrecent")
