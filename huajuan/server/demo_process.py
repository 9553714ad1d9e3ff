"""The demo painter as a child process, started again when it dies."""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator

import structlog

START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 5.0
RESTART_PAUSE_SECONDS = 1.0
_logger = structlog.get_logger(__name__)


class PainterDidNotStart(Exception):
    """The demo painter said nothing in time."""

    def __init__(self) -> None:
        super().__init__("the demo painter did not start")


class DemoPainter:
    """Listens on a free loopback port, and keeps it over restarts. It dies with this process, whatever kills it."""

    def __init__(self) -> None:
        self._closing = threading.Event()
        self._child = _launch(port=0)
        self._watch: threading.Thread | None = None

    def url(self) -> str:
        """Its address, once it listens; from then on it is started again when it dies."""
        url = _url_of(self._child)
        port = int(url.rsplit(":", 1)[1])
        self._watch = threading.Thread(target=self._keep_alive, args=(port,), name="painter", daemon=True)
        self._watch.start()
        return url

    def close(self) -> None:
        self._closing.set()
        _end(self._child)
        if self._watch:
            self._watch.join(STOP_SECONDS_MAX)

    def _keep_alive(self, port: int) -> None:
        while not self._closing.is_set():
            code = self._child.wait()
            if self._closing.wait(RESTART_PAUSE_SECONDS):
                return
            _logger.warning("demo painter died, starting it again", exit_code=code)
            with contextlib.suppress(PainterDidNotStart):
                self._child = _launch(port)
                _url_of(self._child)


def _launch(port: int) -> subprocess.Popen[str]:
    # With -P, as with us, files in the caller's folder do not pass for our modules.
    safe = ["-P"] if sys.flags.safe_path else []
    command = [sys.executable, *safe, "-m", "huajuan.demo_comfyui"]
    # Its standard input is a pipe of ours: when we are gone, even by kill -9, it reads the end and leaves.
    return subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--exit-with-stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _url_of(child: subprocess.Popen[str]) -> str:
    """The first line it prints, once it listens."""
    timer = threading.Timer(START_SECONDS_MAX, child.kill)
    # One that a signal kept from being cancelled must not keep us from leaving.
    timer.daemon = True
    try:
        timer.start()
        line = child.stdout.readline() if child.stdout else ""
        return str(json.loads(line)["url"])
    except (ValueError, KeyError):
        # Left to itself it would tell its address to nobody.
        _end(child)
        raise PainterDidNotStart from None
    finally:
        timer.cancel()


def _end(child: subprocess.Popen[str]) -> None:
    child.terminate()
    try:
        child.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        child.kill()
    for pipe in (child.stdin, child.stdout):
        with contextlib.suppress(OSError):
            if pipe:
                pipe.close()


@contextlib.contextmanager
def demo_painter() -> Iterator[DemoPainter]:
    """A demo painter that runs until the end; it loads while its caller goes on."""
    painter = DemoPainter()
    try:
        yield painter
    finally:
        painter.close()
