"""A minimal connection pooler between a client and a PostgreSQL server, for tests."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Literal

from psycopg.conninfo import conninfo_to_dict, make_conninfo

Kind = Literal["own pid", "turns"]
_LONGEST = 1 << 20


class Peer:
    """One side of a connection: reads and writes single messages."""

    def __init__(self, plug: socket.socket) -> None:
        self._plug = plug

    def read(self, *, startup: bool = False) -> tuple[bytes, bytes]:
        kind = b"" if startup else self._exactly(1)
        length = self._exactly(4)
        (size,) = struct.unpack("!i", length)
        assert 4 <= size <= _LONGEST
        return kind, kind + length + self._exactly(size - 4)

    def write(self, message: bytes) -> None:
        self._plug.sendall(message)

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            piece = self._plug.recv(size - len(found))
            if not piece:
                raise ConnectionResetError
            found += piece
        return found


def _until_ready(server: Peer, client: Peer | None, *, new_pid: bool = False) -> None:
    """Forwards all messages up to `ReadyForQuery`."""
    kind = b""
    while kind != b"Z":
        kind, message = server.read()
        if kind == b"K" and new_pid:
            (pid,) = struct.unpack("!i", message[5:9])
            message = message[:5] + struct.pack("!i", pid + 1_000_000) + message[9:]
        if client:
            client.write(message)


def _serve(plug: socket.socket, path: str, kind: Kind) -> None:
    """`own pid` reports its own process id, like pgbouncer.

    `turns` uses another backend for each transaction.
    """
    with ExitStack() as stack, suppress(OSError):
        client = Peer(stack.enter_context(plug))
        _, startup = client.read(startup=True)
        servers = []
        for number in range(2 if kind == "turns" else 1):
            backend = stack.enter_context(socket.socket(socket.AF_UNIX))
            backend.connect(path)
            servers.append(Peer(backend))
            servers[-1].write(startup)
            _until_ready(servers[-1], None if number else client, new_pid=kind == "own pid")
        turn = 0
        while True:
            message = b""
            name = b""
            while name not in (b"Q", b"S"):
                name, more = client.read()
                message += more
                if name == b"X":
                    return
            server = servers[turn % len(servers)]
            turn += 1
            server.write(message)
            _until_ready(server, client)


@contextmanager
def pooler(dsn: str, kind: Kind) -> Iterator[str]:
    """The DSN of the pooler."""
    parts = conninfo_to_dict(dsn)
    path = f"{parts['host']}/.s.PGSQL.{parts['port']}"
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    plug, _ = listening.accept()
                    threading.Thread(target=_serve, args=(plug, path, kind), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        through = {"host": "127.0.0.1", "port": listening.getsockname()[1]}
        yield make_conninfo(dsn, **through, sslmode="disable", gssencmode="disable")
        listening.shutdown(socket.SHUT_RDWR)
