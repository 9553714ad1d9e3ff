"""Says that the service is ready, once it is."""

import http.client
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

READY_SECONDS_MAX = 60.0
LOOK_SECONDS = 0.05


def say(words: str) -> None:
    """A terminal that was closed is no reason to leave anything undone."""
    with suppress(OSError):
        sys.stderr.write(words + "\n")
        sys.stderr.flush()


def when_ready(host: str, port: int, words: Callable[[], str]) -> None:
    """From a thread of its own, for the server has the main one."""
    threading.Thread(target=_announce, args=(host, port, words), name="announcing", daemon=True).start()


def _announce(host: str, port: int, words: Callable[[], str]) -> None:
    give_up_at = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < give_up_at:
        if _answers(host, port):
            say(words())
            return
        time.sleep(LOOK_SECONDS)


def _answers(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=READY_SECONDS_MAX)
    try:
        connection.request("GET", "/healthz", headers={"X-Request-Id": "start"})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
