"""The listening socket, and uvicorn on it, in this process or in several workers."""

import asyncio
import errno
import http.client
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from typing import Any

import uvicorn
from uvicorn import Config
from uvicorn.config import STARTUP_FAILURE
from uvicorn.server import ServerState
from uvicorn.supervisors import Multiprocess

from huajuan.audit.connection import AuditLimits
from huajuan.runtime.errors import OperatorError
from huajuan.runtime.shutdown import report_stopping, stop_signals
from huajuan.server.connections import Connections, HttpLimits
from huajuan.server.http_protocol import HttpProtocol
from huajuan.settings import PREFIX, Settings, declared

APPLICATION = "huajuan.bootstrap:application"
BACKLOG = 2048
READY_SECONDS_MAX = 60.0
POLL_SECONDS = 0.05
# A higher limit of open files would only slow down the start of child processes.
SOFT_LIMIT_MAX = 65_536
# Descriptors for the log, listening sockets, the picture store, and files that are read briefly.
RESERVED_DESCRIPTORS = 64
RESERVED_PER_COMFYUI_SERVER = 4
CONNECTIONS_MIN = 8
# A bound computed from the limit of open files is at most this, because each connection takes some memory.
CONNECTIONS_DERIVED_MAX = 10_000


def bind_listener(host: str, port: int) -> socket.socket:
    """A bound and listening socket. Raises `OperatorError` for an address that is invalid or in use."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise OperatorError(f"{PREFIX}HOST is {host!r}: {_reason(error)}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OperatorError(_bind_failure(host, port, error)) from None
    return listener


def _bind_failure(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"the port is taken: another process listens on {host}:{port}. Set {PREFIX}PORT to another."
    return f"cannot listen on {host}:{port} ({PREFIX}HOST, {PREFIX}PORT): {_reason(error)}"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def call_when_ready(host: str, port: int, announce: Callable[[], None]) -> None:
    """Calls `announce` once `/healthz` answers. Polls in a thread, because uvicorn has the main one."""

    def poll() -> None:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            if _answers(host, port):
                announce()
                return
            time.sleep(POLL_SECONDS)

    threading.Thread(target=poll, name="announcing", daemon=True).start()


def _answers(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=READY_SECONDS_MAX)
    with suppress(OSError, http.client.HTTPException):
        try:
            connection.request("GET", "/healthz", headers={"X-Request-Id": "start"})
            return connection.getresponse().status == http.HTTPStatus.OK
        finally:
            connection.close()
    return False


def run_until_stopped(settings: Settings, limits: HttpLimits, listening: socket.socket) -> None:
    """Raises `OperatorError` if the application failed before it served a request."""
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
    if not _run(config, listening):
        raise OperatorError("the service did not start, for the reason logged above")


def _run(config: Config, listening: socket.socket) -> bool:
    """Whether it started."""
    if config.workers > 1:
        supervisor = WorkerSupervisor(config, [listening])
        supervisor.run()
        return all(process.exitcode != STARTUP_FAILURE for process in supervisor.processes)
    try:
        UvicornServer(config).run(sockets=[listening])
    except SystemExit:
        return False
    return True


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
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # macOS rejects values above a limit of the kernel. Then the soft limit stays.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def reserved_descriptors(settings: Settings) -> int:
    """The number of descriptors that the service needs besides its HTTP connections."""
    servers = RESERVED_PER_COMFYUI_SERVER * max(1, len(settings.comfyui_urls))
    return RESERVED_DESCRIPTORS + settings.connections_max + AuditLimits().threads_max + servers


def connections_bound(connections_max: int, reserved: int) -> int:
    """The maximum of open HTTP connections; `connections_max` 0 means the limit of open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = soft == resource.RLIM_INFINITY
    allowed = int(declared()["http_connections_max"][1].range.maximum) if unlimited else soft - reserved
    return max(CONNECTIONS_MIN, min(connections_max or CONNECTIONS_DERIVED_MAX, allowed))
