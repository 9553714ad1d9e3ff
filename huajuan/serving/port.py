"""Takes the port before anything else is touched, so that a second instance harms nothing."""

import errno
import socket

BACKLOG = 2048


class PortTaken(Exception):
    """Somebody else listens there."""


def take_port(host: str, port: int) -> socket.socket:
    """A socket that is bound and listening. Raises `PortTaken`, or `OSError` for an address that cannot be."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    taken = socket.socket(family, kind, protocol)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(address)
        taken.listen(BACKLOG)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"{host}:{port}") from None
        raise
    taken.set_inheritable(True)
    return taken
