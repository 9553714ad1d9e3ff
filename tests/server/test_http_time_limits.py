"""Time limits of requests and replies; slow clients that make progress are served."""

import threading
import time
from collections.abc import Iterator

import pytest

from tests.database import eventually
from tests.server.bare_server import BIG_BYTES, LOOPS, Bare, Client, bare_server

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
TIMED_OUT = (408, "请求超时")
SHORT_SECONDS = 0.3
LONG_SECONDS = 600
MIB = 1 << 20


@pytest.fixture(scope="module", params=LOOPS)
def impatient(request: pytest.FixtureRequest) -> Iterator[Bare]:
    with bare_server(
        request.param,
        head_seconds=SHORT_SECONDS,
        body_seconds=SHORT_SECONDS,
        write_stall_seconds=SHORT_SECONDS,
        keep_alive_seconds=SHORT_SECONDS,
    ) as started:
        yield started


def drip(client: Client, content: bytes) -> None:
    """Sends byte by byte until the server ends the connection."""
    for number in range(len(content)):
        client.send(content[number : number + 1])
        client.socket.settimeout(0.02)
        try:
            if client.peek():
                return
        except TimeoutError:
            pass
        finally:
            client.socket.settimeout(30)
    raise AssertionError("the server waited for all of it")


@pytest.mark.parametrize("start", [b"G", b"GET / HTTP/1.1\r\nHost: x\r\n", GET + b"GET / HT"])
def test_a_head_that_does_not_end_times_out(impatient: Bare, start: bytes) -> None:
    with impatient.connect() as client:
        client.send(start)
        if start.startswith(GET):
            assert client.reply().status == 200
        reply = client.reply()
        assert (reply.said, reply.headers["connection"]) == (TIMED_OUT, "close")
        assert client.is_closed()


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\nX: ", POST % 9000, POST % 9000 + b"abc"])
def test_single_bytes_do_not_extend_the_time_limit(impatient: Bare, start: bytes) -> None:
    with impatient.connect() as client:
        client.send(start)
        drip(client, b"x" * 5000)
        assert client.reply().said == TIMED_OUT


def test_a_timeout_is_a_disconnect_for_the_application(impatient: Bare) -> None:
    impatient.application.forget_ended()
    assert impatient.ask(POST % 9000 + b"abc").said == TIMED_OUT
    eventually(lambda: impatient.application.ended == ["/echo"])


def test_a_chunked_body_times_out_too(impatient: Bare) -> None:
    with impatient.connect() as client:
        client.send(b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        assert client.reply().said == TIMED_OUT


def test_a_slow_upload_with_progress_has_no_time_limit(impatient: Bare) -> None:
    part, count = b"x" * (MIB // 2), 40
    with impatient.connect() as client:
        client.send(POST % (len(part) * count))
        for _ in range(count):
            client.send(part)
            time.sleep(SHORT_SECONDS / 10)
        assert client.reply().body == b"%d" % (len(part) * count)


def test_an_unread_body_does_not_time_out(impatient: Bare) -> None:
    impatient.application.go_on.clear()
    length = 4 * MIB
    with impatient.connect() as client:
        client.send(b"POST /hold HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % length)
        sending = threading.Thread(target=client.send, args=(b"x" * length,))
        sending.start()
        # Longer than each limit of this server.
        time.sleep(SHORT_SECONDS * 3)
        impatient.application.go_on.set()
        assert client.reply().body == b"%d" % length
        sending.join()


def test_a_slow_reply_has_no_time_limit(impatient: Bare) -> None:
    impatient.application.go_on.clear()
    with impatient.connect() as client:
        client.send(b"GET /hold HTTP/1.1\r\n\r\n")
        time.sleep(SHORT_SECONDS * 3)
        impatient.application.go_on.set()
        assert client.reply().status == 200


@pytest.mark.parametrize("sent", [b"", GET, b"\r\n"])
def test_an_idle_connection_is_closed_silently(impatient: Bare, sent: bytes) -> None:
    with impatient.connect() as client:
        client.send(sent)
        if sent == GET:
            assert client.reply().status == 200
        assert client.is_closed()


@pytest.mark.parametrize("path", [b"/big", b"/endless"])
def test_a_client_that_does_not_read_is_closed(impatient: Bare, path: bytes) -> None:
    impatient.application.forget_ended()
    with impatient.connect() as client:
        client.send(b"GET %b HTTP/1.1\r\n\r\n" % path)
        eventually(lambda: bool(impatient.open_connections))
        eventually(lambda: not impatient.open_connections)
        assert impatient.application.ended == [path.decode()]


def test_a_slow_reader_gets_everything(impatient: Bare) -> None:
    with impatient.connect() as client:
        client.send(b"GET /big HTTP/1.1\r\n\r\n")
        read = 0
        while read < BIG_BYTES:
            got = len(client.socket.recv(1 << 20))
            assert got
            read += got
            time.sleep(0.01)


def test_all_unsent_data_together_is_bounded() -> None:
    with bare_server(unsent_bytes_max=BIG_BYTES * 3, write_stall_seconds=LONG_SECONDS) as server:
        clients = [server.connect() for _ in range(6)]
        try:
            for client in clients:
                client.send(b"GET /big HTTP/1.1\r\n\r\n")
            eventually(lambda: len(server.application.ended) == len(clients))
            eventually(lambda: server.open_connections <= 3)
            connections = set(server.server_state.connections)
            assert sum(c.unsent_bytes for c in connections) <= BIG_BYTES * 3  # type: ignore[union-attr]
        finally:
            for client in clients:
                client.close()


@pytest.mark.parametrize("loop", LOOPS)
def test_idle_connections_do_not_delay_a_stop(loop: str) -> None:
    with bare_server(loop) as server:
        clients = [server.connect() for _ in range(6)]
        for number, client in enumerate(clients):
            client.send((b"", GET, b"GET / HT")[number % 3])
        assert clients[1].reply().status == clients[4].reply().status == 200
        eventually(lambda: server.open_connections == len(clients))
        server.should_exit = True
        assert all(client.is_closed() for client in clients)
        for client in clients:
            client.close()


def test_a_running_request_is_answered_before_a_stop() -> None:
    with bare_server() as server, server.connect() as client:
        client.send(b"GET /hold HTTP/1.1\r\n\r\n")
        eventually(lambda: bool(server.application.requests))
        server.should_exit = True
        eventually(lambda: all(not s.is_serving() for s in server.servers))
        time.sleep(0.05)
        server.application.go_on.set()
        assert client.reply().headers["connection"] == "close"
        assert client.is_closed()
