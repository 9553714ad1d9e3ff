"""Takes the port before anything else is touched, so that a second instance harms nothing."""

import errno
import socket

from huajuan.settings import PREFIX

BACKLOG = 2048


class AddressUnusable(Exception):
    """Nobody can listen there, or somebody else does."""


def take_port(host: str, port: int) -> socket.socket:
    """A socket that is bound and listening. Raises `AddressUnusable`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        taken = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise AddressUnusable(f"{PREFIX}HOST is {host!r}: {_reason(error)}") from None
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        taken.listen(BACKLOG)
    except OSError as error:
        taken.close()
        raise AddressUnusable(_why_not(host, port, error)) from None
    return taken


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"the port is taken: something else listens on {host}:{port}. Set {PREFIX}PORT to another."
    return f"cannot listen on {host}:{port} ({PREFIX}HOST, {PREFIX}PORT): {_reason(error)}"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
