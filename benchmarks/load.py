"""Load from outside the server: one process, many keep-alive connections, the next request when a reply is whole.

`python -m benchmarks.load` reads an order from standard input and writes what came of it; `load` does both.
A process of its own, plain protocols and uvloop: it must never be what is measured, so it tells how busy it was.
"""

import asyncio
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import msgspec
import uvloop

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_SECONDS = 30
# A server that is slower than this has hung.
REQUESTS_A_SECOND_MIN = 20
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "


class Target(msgspec.Struct):
    """One request; a token is put into it by the connection."""

    method: str
    path: str
    body: str = ""


class Order(msgspec.Struct, kw_only=True):
    """Connection `i` has token `i` and begins with a target of its own, `start` further on.

    Ends after `seconds`, or after `requests` in all if that is given. Replies in the first `warm_seconds`
    do not count.
    """

    address: str
    targets: list[Target]
    tokens: tuple[str, ...] = ("",)
    connections: int = 16
    seconds: float = 1.0
    warm_seconds: float = 0.3
    requests: int = 0
    start: int = 0


class Loaded(msgspec.Struct):
    """Seconds; `busy` is the load's own share of a core, `farthest` how many one connection sent at most."""

    per_second: float
    p50: float
    p99: float
    requests: int
    failed: int
    complaint: str
    busy: float
    farthest: int


class LoadFailed(Exception):
    """Some reply was no success; a rate of failures means nothing."""


def load(order: Order) -> Loaded:
    """Run it in a process of its own. Raises `LoadFailed`."""
    with loading(order) as done:
        pass
    return done[0]


@contextmanager
def loading(order: Order) -> Iterator[list[Loaded]]:
    """The same beside what the caller does; the list has its result at the end."""
    done: list[Loaded] = []
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        process.stdin.write(msgspec.json.encode(order))
        process.stdin.close()
        process.stdin = None
        yield done
        out = process.communicate()[0]
    if process.returncode:
        raise LoadFailed("the load process failed, for the reason above")
    loaded = msgspec.json.decode(out, type=Loaded)
    if loaded.failed:
        raise LoadFailed(f"{loaded.failed} of {loaded.requests} failed: {loaded.complaint}")
    done.append(loaded)


class _Meter:
    """What all connections share."""

    def __init__(self, order: Order) -> None:
        self.began = time.perf_counter() + order.warm_seconds
        self.end = self.began + order.seconds if not order.requests else float("inf")
        self.left = order.requests or sys.maxsize
        self.latencies: list[float] = []
        self.sent = self.failed = self.farthest = 0
        self.complaint = ""
        self._cpu_began = time.process_time()
        self._wall_began = time.perf_counter()

    def may_go_on(self, now: float) -> bool:
        self.left -= 1
        return now < self.end and self.left >= 0

    def add(self, began: float, now: float) -> None:
        if self.began <= now <= self.end:
            self.latencies.append(now - began)

    def fail(self, complaint: str) -> None:
        self.failed += 1
        self.complaint = self.complaint or complaint

    def told(self) -> Loaded:
        """Of the replies that came between warm-up and end, whenever they were asked for."""
        now = time.perf_counter()
        ordered, count = sorted(self.latencies) or [0.0], len(self.latencies)
        return Loaded(
            per_second=count / (min(now, self.end) - self.began),
            p50=ordered[count // 2],
            p99=ordered[count * 99 // 100],
            requests=self.sent,
            failed=self.failed,
            complaint=self.complaint,
            busy=(time.process_time() - self._cpu_began) / (now - self._wall_began),
            farthest=self.farthest,
        )


class _Connection(asyncio.Protocol):
    """One request at a time; only replies that name their length are understood."""

    def __init__(self, messages: Iterator[bytes], meter: _Meter) -> None:
        self.over = asyncio.get_running_loop().create_future()
        self._messages = messages
        self._meter = meter
        self._buffer = b""
        self._whole = 0
        self._sent_at = 0.0
        self._steps = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next(time.perf_counter())

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        self._whole = self._whole or _length_of(self._buffer)
        if self._whole and len(self._buffer) >= self._whole:
            self._judge(time.perf_counter())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self._meter.fail(f"the connection was closed: {exc}")
            self.over.set_result(None)

    def _judge(self, now: float) -> None:
        if self._buffer[9:10] == b"2":
            self._meter.add(self._sent_at, now)
        else:
            self._meter.fail(self._buffer.decode(errors="replace"))
        self._buffer, self._whole = b"", 0
        self._next(now)

    def _next(self, now: float) -> None:
        meter = self._meter
        if not meter.may_go_on(now):
            meter.farthest = max(meter.farthest, self._steps)
            self.over.set_result(None)
            self._transport.close()
            return
        self._steps += 1
        meter.sent += 1
        self._sent_at = now
        self._transport.write(next(self._messages))


def _length_of(buffer: bytes) -> int:
    """Of the whole reply, or 0 while its head is not there."""
    head_end = buffer.find(_HEAD_END)
    if head_end < 0:
        return 0
    at = buffer.lower().find(_LENGTH, 0, head_end)
    length = int(buffer[at + len(_LENGTH) : buffer.find(b"\r\n", at)]) if at >= 0 else 0
    return head_end + len(_HEAD_END) + length


def _messages(order: Order, connection: int) -> Iterator[bytes]:
    """Endless. Neighbours begin far apart, so that they do not all ask for the same at once."""
    token = order.tokens[connection % len(order.tokens)]
    shared = "Host: bench\r\n" + (f"Authorization: {token}\r\n" if token else "")
    first = order.start + connection * len(order.targets) // order.connections
    for number in itertools.count(first):
        target = order.targets[number % len(order.targets)]
        body = target.body.encode()
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        yield f"{target.method} {target.path} HTTP/1.1\r\n{shared}{kind}\r\n".encode() + body


async def _run(order: Order) -> Loaded:
    loop, meter = asyncio.get_running_loop(), _Meter(order)
    host, _, port = urlsplit(order.address).netloc.partition(":")
    seconds_max = PATIENCE_SECONDS + max(order.seconds, order.requests / REQUESTS_A_SECOND_MIN)
    async with asyncio.timeout(seconds_max):
        opened = [
            await loop.create_connection(
                lambda n=n: _Connection(_messages(order, n), meter),  # type: ignore[misc]
                host,
                int(port),
            )
            for n in range(order.connections)
        ]
        await asyncio.gather(*(connection.over for _, connection in opened))
    return meter.told()


if __name__ == "__main__":
    given = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    try:
        sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_run(given))))
    except KeyboardInterrupt:
        sys.exit(130)
