"""Requests that the protocol rejects, the rejections, and the bounds on everything that it reads."""

import socket
from collections.abc import Iterator

import pytest

from tests.database import eventually
from tests.server.bare_server import LOOPS, Bare, Client, bare_server

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
MALFORMED, TIMED_OUT = (400, "请求无效"), (408, "请求超时")
LINE_TOO_LONG, HEADERS_TOO_LARGE = (414, "请求地址过长"), (431, "请求头过大")
MIB = 1 << 20
ATTACK_BYTES = 50 * MIB
# Socket buffers of both sides, besides the bytes that are read and discarded.
TAKEN_BYTES_MAX = 20 * MIB


@pytest.fixture(scope="module", params=LOOPS)
def server(request: pytest.FixtureRequest) -> Iterator[Bare]:
    with bare_server(request.param, header_bytes_max=4096, request_line_bytes_max=1024) as started:
        yield started


def fields(count: int, length: int = 1) -> bytes:
    return b"".join(b"X-%d: %b\r\n" % (number, b"v" * length) for number in range(count))


@pytest.mark.parametrize(
    ("request_bytes", "said"),
    [
        (b"GET / HTTP/1.1\r\n" + fields(1, 5000) + b"\r\n", HEADERS_TOO_LARGE),
        (b"GET / HTTP/1.1\r\n" + fields(50, 100) + b"\r\n", HEADERS_TOO_LARGE),
        (b"GET / HTTP/1.1\r\n" + fields(101) + b"\r\n", HEADERS_TOO_LARGE),
        (b"GET / HTTP/1.1\r\n" + b"N" * 9000, HEADERS_TOO_LARGE),
        (b"\r\n" * 9000, HEADERS_TOO_LARGE),
        (b"GET /" + b"a" * 1100 + b" HTTP/1.1\r\n\r\n", LINE_TOO_LONG),
        (b"GET /?q=" + b"a" * 200_000, LINE_TOO_LONG),
        (b"GET http://" + b"a" * 1100 + b"/ HTTP/1.1\r\n\r\n", LINE_TOO_LONG),
        (CHUNKED + b"3;" + b"e" * 9000, HEADERS_TOO_LARGE),
        (CHUNKED + b"3\r\nabc\r\n0\r\nX: " + b"t" * 9000, HEADERS_TOO_LARGE),
        (CHUNKED + b"3\r\nabc\r\n0\r\n" + fields(3000), HEADERS_TOO_LARGE),
        (CHUNKED + b"".join(b"1;%b\r\na\r\n" % (b"e" * 900) for _ in range(20)), HEADERS_TOO_LARGE),
    ],
)
def test_a_too_large_request_is_rejected(server: Bare, request_bytes: bytes, said: tuple[int, str]) -> None:
    reply = server.ask(request_bytes)
    assert (reply.status, reply.said) == (said[0], said)
    assert reply.headers["connection"] == "close"
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert len(reply.headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\n" + fields(1, 4000) + b"\r\n",
        b"GET / HTTP/1.1\r\n" + fields(100) + b"\r\n",
        b"GET /?" + b"a" * 1000 + b" HTTP/1.1\r\n\r\n",
        CHUNKED + b"".join(b"1\r\na\r\n" for _ in range(5000)) + b"0\r\n" + fields(10) + b"\r\n",
        b"POST /echo HTTP/1.1\r\nContent-Length: 1048576\r\n\r\n" + b"a" * MIB,
        GET + b"GET / HTTP/1.1\r\n" + fields(1, 4000) + b"\r\n",
    ],
)
def test_requests_within_the_bounds_are_answered(server: Bare, request_bytes: bytes) -> None:
    assert server.ask(request_bytes).status == 200


@pytest.mark.parametrize(
    ("start", "part"),
    [
        (b"GET / HTTP/1.1\r\n", b"x: yz\r\n"),
        (b"GET / HTTP/1.1\r\nx: ", b"y"),
        (CHUNKED + b"3;", b"e"),
        (CHUNKED + b"0\r\n", b"x: yz\r\n"),
    ],
    ids=["headers", "one header", "extension", "trailers"],
)
def test_endless_headers_are_rejected(server: Bare, start: bytes, part: bytes) -> None:
    with server.connect() as client:
        client.send(start)
        assert client.send_until_refused(part * 60_000, ATTACK_BYTES) < TAKEN_BYTES_MAX
        assert client.reply().said == HEADERS_TOO_LARGE


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"get / HTTP/1.1\r\n\r\n",
        b"FOO / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / HTTP/0.9\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\n\n",
        b"GET nothing HTTP/1.1\r\n\r\n",
        b"GET * HTTP/1.1\r\n\r\n",
        b"GET ftp://h/ HTTP/1.1\r\n\r\n",
        b"GET http://h:99999/ HTTP/1.1\r\n\r\n",
        "GET /画 HTTP/1.1\r\n\r\n".encode(),
        b"GET /\x00 HTTP/1.1\r\n\r\n",
        b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nA b: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\n: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: \x01\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        POST + b"Content-Length: 3, 3\r\n\r\nabc",
        POST + b"Content-Length: +3\r\n\r\nabc",
        POST + b"Content-Length: -3\r\n\r\nabc",
        POST + b"Content-Length: 99999999999999999999\r\n\r\nabc",
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: identity\r\n\r\nabc",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"zz\r\nabc",
        CHUNKED + b"3\nabc\r\n0\r\n\r\n",
        CHUNKED + b"ffffffffffffffffff\r\n",
        CHUNKED + b"3\r\nabcd\r\n",
    ],
)
def test_a_malformed_request_gets_a_json_error(
    server: Bare, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    server.application.bodies.clear()
    reply = server.ask(request_bytes)
    assert (reply.status, reply.said, reply.headers["connection"]) == (400, MALFORMED, "close")
    assert not server.application.bodies
    assert caplog.records == []


def test_data_after_a_malformed_request_is_ignored(server: Bare) -> None:
    smuggled = b"GET /early HTTP/1.1\r\n\r\n"
    with server.connect() as client:
        client.send(POST + b"Content-Length: 30\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled)
        assert client.reply().said == MALFORMED
        assert client.is_closed()
    assert ("GET", "/early") not in server.application.requests


@pytest.mark.parametrize(
    "target",
    [b"http://h", b"http://h/?a=b", b"HTTPS://h:1/", b"//", b"/"],
    ids=lambda target: target.decode(),
)
def test_an_absolute_url_is_a_path(server: Bare, target: bytes) -> None:
    assert server.ask(b"GET %b HTTP/1.1\r\n\r\n" % target).status == 200


def test_options_may_ask_about_the_server(server: Bare) -> None:
    assert server.ask(b"OPTIONS * HTTP/1.1\r\n\r\n").status == 200


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_an_upgrade_is_ignored_and_its_body_is_read(server: Bare, protocol: bytes) -> None:
    head = POST + b"Connection: Upgrade\r\nUpgrade: %b\r\nContent-Length: 5\r\n\r\n" % protocol
    with server.connect() as client:
        client.send(head + b"GE")
        client.send(b"T /" + GET)
        assert client.reply().body == b"5"
        assert client.reply().body == b"root"
    assert server.application.bodies[-1] == b"GET /"


def test_trailers_are_not_headers(server: Bare) -> None:
    server.ask(CHUNKED + b"3\r\nabc\r\n0\r\nAuthorization: token\r\n\r\n")
    assert [name for name, _ in server.application.headers] == [b"host", b"transfer-encoding"]


def test_pipelined_requests_are_answered_in_order(server: Bare) -> None:
    body = POST + b"Content-Length: 4\r\n\r\nabcd"
    with server.connect() as client:
        client.send((GET + body) * 500)
        assert [client.reply().body for _ in range(1000)] == [b"root", b"4"] * 500
        client.send(GET)
        assert client.reply().status == 200


def test_few_pipelined_requests_are_begun(server: Bare) -> None:
    server.application.go_on.clear()
    before = len(server.application.requests)
    with server.connect() as client:
        client.send(b"GET /hold HTTP/1.1\r\n\r\n" + GET * 1000)
        eventually(lambda: len(server.application.requests) > before)
        (protocol,) = server.server_state.connections
        eventually(lambda: bool(protocol._buffered))  # type: ignore[union-attr]
        assert len(protocol.pipeline) < 200  # type: ignore[union-attr]
        server.application.go_on.set()
        assert client.reply().body == b"0"
        assert [client.reply().body for _ in range(1000)] == [b"root"] * 1000


def test_a_rejection_follows_earlier_replies(server: Bare) -> None:
    server.application.go_on.clear()
    with server.connect() as client:
        client.send(b"GET /hold HTTP/1.1\r\n\r\n" + GET + b"nonsense\r\n\r\n")
        server.application.go_on.set()
        assert [client.reply().body for _ in range(2)] == [b"0", b"root"]
        assert client.reply().said == MALFORMED
        assert client.is_closed()


def test_100_continue_is_sent_when_the_body_is_read(server: Bare) -> None:
    head = POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    with server.connect() as client:
        for _ in range(2):
            client.send(head)
            assert client.reply().status == 100
            client.send(b"abc")
            assert client.reply().body == b"3"


def test_a_rejected_request_with_expect_ends_the_connection(server: Bare) -> None:
    with server.connect() as client:
        client.send(b"POST /early HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3000\r\n\r\n")
        reply = client.reply()
        assert (reply.status, reply.headers["connection"]) == (413, "close")
        assert client.is_closed()


@pytest.mark.parametrize("connection", [b"close", b"keep-alive"])
def test_a_reply_before_the_end_of_the_body_arrives(server: Bare, connection: bytes) -> None:
    with server.connect() as client:
        length = 8 * MIB
        client.send(
            b"POST /early HTTP/1.1\r\nConnection: %b\r\nContent-Length: %d\r\n\r\n" % (connection, length)
        )
        client.send(b"x" * length)
        assert client.reply().status == 413
        if connection == b"close":
            assert client.is_closed()
        else:
            client.send(GET)
            assert client.reply().status == 200


def test_a_reset_connection_ends_its_request(server: Bare) -> None:
    with server.connect() as client:
        client.send(b"GET /endless HTTP/1.1\r\n\r\n")
        client.socket.recv(1)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    eventually(lambda: "/endless" in server.application.ended)
    eventually(lambda: not server.open_connections)


def test_a_closed_connection_leaves_no_references(server: Bare) -> None:
    clients = [server.connect() for _ in range(20)]
    for number, client in enumerate(clients):
        client.send((GET, b"GET / HT", CHUNKED, b"nonsense\r\n\r\n")[number % 4])
    for client in clients:
        client.close()
    eventually(lambda: not server.open_connections)
    connections = server.factory._connections
    assert connections is not None
    eventually(lambda: not len(connections) and not connections.idle and connections._timer is None)


def test_an_http_1_0_client_gets_one_reply(server: Bare) -> None:
    with Client(socket.create_connection(server.address)) as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.reply().headers["connection"] == "close"
        assert client.is_closed()
