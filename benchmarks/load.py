"""The load generator: one process with many keep-alive connections, each with one request at a time.

`python -m benchmarks.load` reads an order from standard input and writes its results; `load` does both. It is
a separate process with plain protocols and uvloop, and reports its own CPU use, because it must not be the
bottleneck.
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
# A server that is slower than this hangs.
REQUESTS_A_SECOND_MIN = 20
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "


class Target(msgspec.Struct):
    """One request; the connection inserts its token."""

    method: str
    path: str
    body: str = ""


class Order(msgspec.Struct, kw_only=True):
    """Connection `i` has token `i`; connections begin with different targets, shifted by `start`.

    Ends after `seconds`, or after `requests` in total if given. Replies in the first `warm_seconds` do not
    count.
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
    """In seconds; `busy` is the load's share of a core, `farthest` the most requests of one connection."""

    per_second: float
    p50: float
    p99: float
    requests: int
    failed: int
    complaint: str
    busy: float
    farthest: int


class LoadFailed(Exception):
    """A reply was not a success, so the rate is meaningless."""


def load(order: Order) -> Loaded:
    """Runs the load in its own process. Raises `LoadFailed`."""
    with loading(order) as done:
        pass
    return done[0]


@contextmanager
def loading(order: Order) -> Iterator[list[Loaded]]:
    """Runs the load during the block; the list has its result after it."""
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
    """The state that all connections share."""

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

    def results(self) -> Loaded:
        """The results of the replies between warm-up and end, whenever their requests were sent."""
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
    """Sends one request at a time; only replies with `Content-Length` are supported."""

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
    """The length of the complete reply, or 0 while its head is incomplete."""
    head_end = buffer.find(_HEAD_END)
    if head_end < 0:
        return 0
    at = buffer.lower().find(_LENGTH, 0, head_end)
    length = int(buffer[at + len(_LENGTH) : buffer.find(b"\r\n", at)]) if at >= 0 else 0
    return head_end + len(_HEAD_END) + length


def _messages(order: Order, connection: int) -> Iterator[bytes]:
    """Endless. Connections start at different targets, so that they do not send the same requests at once."""
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
    return meter.results()


if __name__ == "__main__":
    given = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    try:
        sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_run(given))))
    except KeyboardInterrupt:
        sys.exit(130)
