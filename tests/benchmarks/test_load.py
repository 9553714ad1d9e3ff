"""The load process: each reply is counted once, and a failed reply fails the measurement."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from benchmarks.load import LoadFailed, Order, Target, load

Answer = Callable[[bytes], list[bytes]]


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """The address of a server that replies to each request with these pieces."""
    loop = asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            for piece in answer(head + await reader.readexactly(length)):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    loop.set_exception_handler(lambda _, __: None)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()


def order(address: str, **changes: object) -> Order:
    given = {"targets": [Target("GET", "/")], "connections": 3, "requests": 30, "warm_seconds": 0.0}
    return Order(address=address, **{**given, **changes})  # type: ignore[arg-type]


def reply(status: int, body: bytes = b"well") -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def test_replies_in_pieces_are_counted_once() -> None:
    whole = reply(200)
    with answering(lambda _: [whole[:12], whole[12:-2], whole[-2:]]) as address:
        loaded = load(order(address))
    assert loaded.requests == 30
    assert loaded.per_second > 0
    assert 10 <= loaded.farthest <= 30


def test_one_failed_reply_fails_the_measurement() -> None:
    replies = iter([reply(200)] * 20 + [reply(500, b"broken")] + [reply(200)] * 20)
    with (
        answering(lambda _: [next(replies)]) as address,
        pytest.raises(LoadFailed, match=r"1 of 30 failed(.|\s)*broken"),
    ):
        load(order(address))


def test_each_client_has_a_token_and_follows_its_cursor() -> None:
    asked: list[bytes] = []

    def note(request: bytes) -> list[bytes]:
        asked.append(request)
        return [reply(200)]

    targets = [Target("POST", f"/{n}", f'{{"n": {n}}}') for n in range(10)]
    with answering(note) as address:
        load(order(address, targets=targets, tokens=("ann", "bob"), connections=2, requests=200, start=3))
    # A faster client sends more of them.
    first, second = (next(one for one in asked if name in one) for name in (b"ann", b"bob"))
    assert first.startswith(b"POST /3 HTTP/1.1\r\nHost: bench\r\nAuthorization: ann\r\n")
    assert first.endswith(b'\r\n\r\n{"n": 3}')
    assert second.startswith(b"POST /8 HTTP/1.1\r\nHost: bench\r\nAuthorization: bob\r\n")
