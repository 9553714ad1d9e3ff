"""The demo ComfyUI as a child process, restarted when it dies."""

import contextlib
import json
import subprocess
import sys
import threading

import structlog

from huajuan.runtime.errors import OperatorError

START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 5.0
RESTART_PAUSE_SECONDS = 1.0
_logger = structlog.get_logger(__name__)


class DemoComfyUI:
    """Listens on a free loopback port, also after restarts. Ends with this process, even after kill -9."""

    def __init__(self) -> None:
        self._closing = threading.Event()
        self._child = _launch(port=0)
        self._watch: threading.Thread | None = None

    def url(self) -> str:
        """Waits until the server listens, and returns its address; then restarts it whenever it dies."""
        url = _url_of(self._child)
        port = int(url.rsplit(":", 1)[1])
        self._watch = threading.Thread(
            target=self._restart_when_dead, args=(port,), name="demo ComfyUI", daemon=True
        )
        self._watch.start()
        return url

    def close(self) -> None:
        self._closing.set()
        _end(self._child)
        if self._watch:
            self._watch.join(STOP_SECONDS_MAX)

    def _restart_when_dead(self, port: int) -> None:
        while not self._closing.is_set():
            code = self._child.wait()
            if self._closing.wait(RESTART_PAUSE_SECONDS):
                return
            _logger.warning("demo ComfyUI died, starting it again", exit_code=code)
            with contextlib.suppress(OperatorError):
                self._child = _launch(port)
                _url_of(self._child)


def _launch(port: int) -> subprocess.Popen[str]:
    # -P, as in this process, so that files in the working directory are not imported as modules.
    safe_path = ["-P"] if sys.flags.safe_path else []
    command = [sys.executable, *safe_path, "-m", "huajuan.demo_comfyui"]
    # Its standard input is a pipe of this process: at the end of the pipe, even after kill -9, it exits.
    return subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--exit-with-stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _url_of(child: subprocess.Popen[str]) -> str:
    """The address in the first line that it prints, once it listens. Raises `OperatorError`."""
    timer = threading.Timer(START_SECONDS_MAX, child.kill)
    # A daemon thread, because a signal may prevent `cancel`, and the process must still be able to exit.
    timer.daemon = True
    try:
        timer.start()
        line = child.stdout.readline() if child.stdout else ""
        return str(json.loads(line)["url"])
    except (ValueError, KeyError):
        # A child that starts later would have no reader of its address.
        _end(child)
        raise OperatorError("the demo ComfyUI did not start") from None
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
