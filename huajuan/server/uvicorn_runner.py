"""Runs uvicorn in this process or in several workers, with a bound on open connections."""

import asyncio
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

import uvicorn
from uvicorn import Config
from uvicorn.config import STARTUP_FAILURE
from uvicorn.server import ServerState
from uvicorn.supervisors import Multiprocess

from huajuan.audit.connection import AuditLimits
from huajuan.runtime.shutdown import report_stopping, stop_signals
from huajuan.server.protocol.connections import Connections, HttpLimits
from huajuan.server.protocol.http_protocol import HttpProtocol
from huajuan.settings import Settings, declared

APPLICATION = "huajuan.bootstrap:application"
# A higher limit of open files would only slow down the start of child processes.
SOFT_LIMIT_MAX = 65_536
# Descriptors for the log, listening sockets, the picture store, and files that are read briefly.
RESERVED_DESCRIPTORS = 64
RESERVED_PER_COMFYUI_SERVER = 4
CONNECTIONS_MIN = 8
# A bound computed from the limit of open files is at most this, because each connection takes some memory.
CONNECTIONS_DERIVED_MAX = 10_000


class WorkersDidNotStart(Exception):
    """The application failed before it served a request."""

    def __init__(self) -> None:
        super().__init__("the service did not start, for the reason logged above")


def run_until_stopped(settings: Settings, limits: HttpLimits, listening: socket.socket) -> None:
    """Raises `WorkersDidNotStart`."""
    raise_open_files_limit()
    protocol: Any = HttpProtocolFactory(limits, reserved_descriptors(settings))
    config = Config(
        APPLICATION,
        factory=True,
        workers=settings.workers,
        http=protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # HUAJUAN_TRUSTED_PROXIES decides which headers are used.
        proxy_headers=False,
        lifespan="on",
        timeout_graceful_shutdown=int(settings.stop_seconds_max),
    )
    if settings.workers > 1:
        _run_workers(WorkerSupervisor(config, [listening]))
    else:
        _run_in_this_process(UvicornServer(config), listening)


def _run_in_this_process(server: uvicorn.Server, listening: socket.socket) -> None:
    try:
        server.run(sockets=[listening])
    except SystemExit:
        raise WorkersDidNotStart from None


def _run_workers(workers: Multiprocess) -> None:
    workers.run()
    if any(process.exitcode == STARTUP_FAILURE for process in workers.processes):
        raise WorkersDidNotStart


class UvicornServer(uvicorn.Server):
    """Prints that it stops, because running requests may take a while."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The handlers stay installed: the shutdown that follows must not be interrupted by a signal."""
        for number in stop_signals():
            signal.signal(number, self._stop)
        yield

    def _stop(self, number: int, _: object) -> None:
        if not self.should_exit:
            report_stopping()
        self.handle_exit(number, None)


class WorkerSupervisor(Multiprocess):
    """A terminal sends its signals to all processes; only this one handles them, and stops its workers.

    Workers inherit the blocked signals: a signal would kill a worker that is still loading, with a traceback.
    """

    def __init__(self, config: Config, sockets: list[socket.socket]) -> None:
        self._blocked = stop_signals() - {signal.SIGTERM}
        super().__init__(config, sockets)

    def run(self) -> None:
        # Starting the resource tracker unblocks signals, so it comes first.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, self._blocked)
        super().run()

    def handle_signals(self) -> None:
        if signal.sigpending() & self._blocked:
            self.handle_term()
        super().handle_signals()

    def handle_term(self) -> None:
        if not self.should_exit.is_set():
            report_stopping()
        self.should_exit.set()

    def handle_int(self) -> None:
        self.handle_term()

    def handle_hup(self) -> None:
        """A closed terminal stops the server; uvicorn would restart all workers."""
        if signal.SIGHUP in self._blocked:
            self.handle_term()


class HttpProtocolFactory:
    """Makes the protocols of one worker, which share a bound on connections. Pickled for worker processes."""

    def __init__(self, limits: HttpLimits, reserved_descriptors: int) -> None:
        self._limits = limits
        self._reserved = reserved_descriptors
        self._connections: Connections | None = None

    def __call__(self, config: Config, server_state: ServerState, app_state: Any, **_: Any) -> HttpProtocol:
        if self._connections is None:
            bound = connections_bound(self._limits.connections_max, self._reserved)
            self._connections = Connections(self._limits, bound, asyncio.get_running_loop())
        return HttpProtocol(self._connections, config, server_state, app_state)


def raise_open_files_limit() -> None:
    """Raises the soft limit to the hard limit, at most to `SOFT_LIMIT_MAX`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = SOFT_LIMIT_MAX if hard == resource.RLIM_INFINITY else min(hard, SOFT_LIMIT_MAX)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        # macOS rejects values above a limit of the kernel. The soft limit stays.
        return


def reserved_descriptors(settings: Settings) -> int:
    """The number of descriptors that the service needs besides its HTTP connections."""
    servers = RESERVED_PER_COMFYUI_SERVER * max(1, len(settings.comfyui_urls))
    return RESERVED_DESCRIPTORS + settings.connections_max + AuditLimits().threads_max + servers


def connections_bound(connections_max: int, reserved: int) -> int:
    """The maximum of open HTTP connections; `connections_max` 0 means the limit of open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = soft == resource.RLIM_INFINITY
    allowed = int(declared()["http_connections_max"][1].most) if unlimited else soft - reserved
    return max(CONNECTIONS_MIN, min(connections_max or CONNECTIONS_DERIVED_MAX, allowed))
