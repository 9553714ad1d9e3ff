"""Runs uvicorn in this process, or over several workers, until it is told to stop."""

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from huajuan.runtime.shutdown import heeded, say_stopping
from huajuan.server.protocol.factory import HttpProtocolFactory
from huajuan.server.protocol.open_files import raise_open_files_limit, reserved_descriptors
from huajuan.settings import Settings

APPLICATION = "huajuan.bootstrap:application"


class WorkersDidNotStart(Exception):
    """The application failed before it served anybody."""

    def __init__(self) -> None:
        super().__init__("the service did not start, for the reason logged above")


def run_until_stopped(settings: Settings, listening: socket.socket) -> None:
    """Raises `WorkersDidNotStart`."""
    raise_open_files_limit()
    protocol: Any = HttpProtocolFactory(settings.http, reserved_descriptors(settings))
    config = uvicorn.Config(
        APPLICATION,
        factory=True,
        workers=settings.workers,
        http=protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # HUAJUAN_TRUSTED_PROXIES says whose headers count.
        proxy_headers=False,
        lifespan="on",
        timeout_graceful_shutdown=int(settings.stop_seconds_max),
    )
    if settings.workers > 1:
        _run_workers(Workers(config, [listening]))
    else:
        _run_here(Server(config), listening)


def _run_here(server: uvicorn.Server, listening: socket.socket) -> None:
    try:
        server.run(sockets=[listening])
    except SystemExit:
        raise WorkersDidNotStart from None


def _run_workers(workers: Multiprocess) -> None:
    workers.run()
    if any(process.exitcode == STARTUP_FAILURE for process in workers.processes):
        raise WorkersDidNotStart


class Server(uvicorn.Server):
    """Says that it heard the signal, for requests in hand may take it a while."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """For good: afterwards the unwinding is under way, and no signal may disturb it."""
        for number in heeded():
            signal.signal(number, self._stop)
        yield

    def _stop(self, number: int, _: object) -> None:
        if not self.should_exit:
            say_stopping()
        self.handle_exit(number, None)


class Workers(Multiprocess):
    """A terminal sends its signals to every process; here only the first obeys, and tells its workers to stop.

    They inherit the blocked signals. Else one that is still loading would die of them, loudly.
    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        self._blocked = heeded() - {signal.SIGTERM}
        super().__init__(config, sockets)

    def run(self) -> None:
        # Its start would unblock the signals again, so it comes first.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, self._blocked)
        super().run()

    def handle_signals(self) -> None:
        if signal.sigpending() & self._blocked:
            self.handle_term()
        super().handle_signals()

    def handle_term(self) -> None:
        if not self.should_exit.is_set():
            say_stopping()
        self.should_exit.set()

    def handle_int(self) -> None:
        self.handle_term()

    def handle_hup(self) -> None:
        """A closed terminal. uvicorn would start all workers anew."""
        if signal.SIGHUP in self._blocked:
            self.handle_term()
