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
        self._child, self.url = _start(port=0)
        self._watch = threading.Thread(target=self._keep_alive, name="painter", daemon=True)
        self._watch.start()

    def close(self) -> None:
        self._closing.set()
        self._child.terminate()
        try:
            self._child.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._child.kill()
        self._watch.join(STOP_SECONDS_MAX)

    def _keep_alive(self) -> None:
        port = int(self.url.rsplit(":", 1)[1])
        while not self._closing.is_set():
            code = self._child.wait()
            if self._closing.wait(RESTART_PAUSE_SECONDS):
                return
            _logger.warning("demo painter died, starting it again", exit_code=code)
            with contextlib.suppress(PainterDidNotStart):
                self._child, _ = _start(port)


def _start(port: int) -> tuple[subprocess.Popen[str], str]:
    # With -P, as with us, files in the caller's folder do not pass for our modules.
    safe = ["-P"] if sys.flags.safe_path else []
    command = [sys.executable, *safe, "-m", "huajuan.inference_client.painter"]
    # Its standard input is a pipe of ours: when we are gone, even by kill -9, it reads the end and leaves.
    child = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--exit-with-stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    return child, _url_of(child)


def _url_of(child: subprocess.Popen[str]) -> str:
    """The first line it prints, once it listens."""
    timer = threading.Timer(START_SECONDS_MAX, child.kill)
    timer.start()
    try:
        line = child.stdout.readline() if child.stdout else ""
        return str(json.loads(line)["url"])
    except (ValueError, KeyError):
        child.kill()
        raise PainterDidNotStart from None
    except BaseException:
        # Interrupted: left to itself it would tell its address to nobody, and complain.
        child.kill()
        raise
    finally:
        timer.cancel()


@contextlib.contextmanager
def demo_painter() -> Iterator[str]:
    """The address of a demo painter that runs until the end."""
    painter = DemoPainter()
    try:
        yield painter.url
    finally:
        painter.close()
