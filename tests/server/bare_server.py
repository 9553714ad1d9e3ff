"""uvicorn with the service's protocol and a small application, in a thread with its own event loop."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import uvicorn
import uvloop

from huajuan.server.connections import HttpLimits
from huajuan.server.uvicorn_runner import HttpProtocolFactory, bind_listener
from tests.database import eventually

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
BIG_BYTES = 40 << 20
PATIENCE_SECONDS = 30


class Application:
    """An application that records its requests."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.bodies: list[bytes] = []
        self.ended: list[str] = []
        self.running = 0
        self.go_on = threading.Event()

    def forget_ended(self) -> None:
        """Once the requests of earlier tests have ended: a timeout is answered before its request ends."""
        eventually(lambda: not self.running)
        self.ended.clear()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        self.requests.append((scope["method"], path))
        self.headers = scope["headers"]
        self.running += 1
        try:
            await getattr(self, path.strip("/*") or "root")(receive, send)
        finally:
            self.running -= 1
            self.ended.append(path)

    async def root(self, _: Any, send: Any) -> None:
        await reply(send, b"root")

    async def echo(self, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        self.bodies.append(body)
        await reply(send, b"%d" % len(body))

    async def hold(self, receive: Any, send: Any) -> None:
        """Reads the body late, and replies when the test lets it."""
        while not self.go_on.is_set():
            await asyncio.sleep(0.01)
        await self.echo(receive, send)

    async def early(self, _: Any, send: Any) -> None:
        await reply(send, b"no", 413)

    async def big(self, _: Any, send: Any) -> None:
        await reply(send, b"x" * BIG_BYTES)

    async def endless(self, receive: Any, send: Any) -> None:
        """Streams until the client disconnects."""
        gone = asyncio.create_task(receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not gone.done() or (await gone)["type"] != "http.disconnect":
            if gone.done():
                gone = asyncio.create_task(receive())
            await send({"type": "http.response.body", "body": b"y" * 4096, "more_body": True})
            await asyncio.sleep(0)


async def reply(send: Any, body: bytes, status: int = 200) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


class Bare(uvicorn.Server):
    """A server and its application; `limits` are those of the protocol."""

    def __init__(self, listening: socket.socket, **limits: Any) -> None:
        self.application = Application()
        self.factory = HttpProtocolFactory(msgspec.structs.replace(HttpLimits(), **limits), 0)
        http: Any = self.factory
        super().__init__(
            uvicorn.Config(
                self.application, http=http, ws="none", log_config=None, lifespan="off",
                log_level="warning", access_log=False, timeout_graceful_shutdown=5,
            )
        )  # fmt: skip
        self.address = listening.getsockname()
        self.listening = listening

    @property
    def open_connections(self) -> int:
        return len(self.server_state.connections)

    def connect(self) -> "Client":
        return Client(socket.create_connection(self.address, PATIENCE_SECONDS))

    def ask(self, *parts: bytes) -> "Reply":
        """Sends on one connection, and returns the last reply."""
        with self.connect() as client:
            for part in parts:
                client.send(part)
            return client.reply()


@contextmanager
def bare_server(loop: str = "uvloop", **limits: Any) -> Iterator[Bare]:
    with bind_listener("127.0.0.1", 0) as listening:
        server = Bare(listening, **limits)
        thread = threading.Thread(target=run, args=(server, LOOPS[loop]))
        thread.start()
        try:
            eventually(lambda: server.started)
            yield server
        finally:
            server.application.go_on.set()
            server.should_exit = True
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()


def run(server: Bare, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(server.serve(sockets=[server.listening]))


class Reply(msgspec.Struct):
    """One reply as received."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> tuple[int, str]:
        """Code and message of the JSON body."""
        told = json.loads(self.body)
        return told["code"], told["message"]


class Client:
    """A socket, and received data of the next reply."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._read = b""

    @classmethod
    def of(cls, port: int) -> "Client":
        return cls(socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS))

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)

    def send_until_refused(self, part: bytes, bytes_max: int) -> int:
        """The number of bytes accepted before the server closed the connection or replied."""
        sent = 0
        self.socket.settimeout(1)
        try:
            while sent < bytes_max:
                sent += self.socket.send(part)
        except OSError:
            pass
        finally:
            self.socket.settimeout(PATIENCE_SECONDS)
        return sent

    def reply(self) -> Reply:
        while b"\r\n\r\n" not in self._read:
            assert self._more(), self._read
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        status = int(lines[0].split()[1])
        length = int(headers.get("content-length", 0))
        while len(self._read) < length:
            assert self._more()
        body, self._read = self._read[:length], self._read[length:]
        return Reply(status, headers, body)

    def peek(self) -> bool:
        """Whether data can be read at once. Raises `TimeoutError`."""
        return bool(self.socket.recv(1, socket.MSG_PEEK))

    def is_closed(self) -> bool:
        """Waits until the server closes the connection; False if it sends data before."""
        try:
            return not self._read and self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def _more(self) -> bool:
        got = self.socket.recv(1 << 16)
        self._read += got
        return bool(got)
