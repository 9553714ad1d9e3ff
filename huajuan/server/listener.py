"""The listening socket, bound before anything else starts, and the message that the service is ready."""

import errno
import http.client
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from huajuan.settings import PREFIX

BACKLOG = 2048
READY_SECONDS_MAX = 60.0
POLL_SECONDS = 0.05


class AddressUnusable(Exception):
    """The address cannot be bound, or is in use."""


def bind_listener(host: str, port: int) -> socket.socket:
    """A bound and listening socket. Raises `AddressUnusable`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise AddressUnusable(f"{PREFIX}HOST is {host!r}: {_reason(error)}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise AddressUnusable(_bind_failure(host, port, error)) from None
    return listener


def _bind_failure(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"the port is taken: another process listens on {host}:{port}. Set {PREFIX}PORT to another."
    return f"cannot listen on {host}:{port} ({PREFIX}HOST, {PREFIX}PORT): {_reason(error)}"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def print_status(text: str) -> None:
    """A line on standard error. A closed terminal is no error."""
    with suppress(OSError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def announce_when_ready(host: str, port: int, message: Callable[[], str]) -> None:
    """Prints the message once `/healthz` answers. Polls in a thread, because uvicorn has the main one."""
    args = (host, port, message)
    threading.Thread(target=_announce, args=args, name="announcing", daemon=True).start()


def _announce(host: str, port: int, message: Callable[[], str]) -> None:
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline:
        if _answers(host, port):
            print_status(message())
            return
        time.sleep(POLL_SECONDS)


def _answers(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=READY_SECONDS_MAX)
    try:
        connection.request("GET", "/healthz", headers={"X-Request-Id": "start"})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
