"""Starts the embedded database again when its server dies, for as long as this process serves."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from huajuan.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError

LOOK_SECONDS = 0.5
PAUSE_SECONDS_MAX = 30.0
_logger = structlog.get_logger(__name__)


@contextmanager
def kept_running(server: EmbeddedPostgres) -> Iterator[None]:
    """While this lasts, a dead server is started again; whichever process sees it first does so for all."""
    closing = threading.Event()
    watch = threading.Thread(target=_watch, args=(server, closing), name="database watch", daemon=True)
    watch.start()
    try:
        yield
    finally:
        closing.set()
        # A start under way must end before the stop, else it would leave a server behind.
        watch.join()


def _watch(server: EmbeddedPostgres, closing: threading.Event) -> None:
    pause = LOOK_SECONDS
    while not closing.wait(pause):
        pause = LOOK_SECONDS if _is_up(server) else min(pause * 2, PAUSE_SECONDS_MAX)


def _is_up(server: EmbeddedPostgres) -> bool:
    if server.running():
        return True
    _logger.warning("the database server died, starting it again")
    try:
        server.start()
    except (EmbeddedPostgresError, OSError) as error:
        _logger.error("the database server did not start", reason=str(error))
        return False
    return True
