"""The bound on connections: the longest idle one is closed for a new one, and the service keeps running."""

import resource
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from huajuan.server.uvicorn_runner import connections_bound, raise_open_files_limit, reserved_descriptors
from huajuan.settings import Settings
from tests.database import eventually
from tests.loopback import NO_TLS
from tests.server.bare_server import LOOPS, Bare, Client, bare_server
from tests.server.person import Person
from tests.server.service import Service

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HOLD = b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n"
BUSY = (503, "服务繁忙，请稍后再试")
BOUND = 8


@pytest.fixture(params=LOOPS)
def server(request: pytest.FixtureRequest) -> Iterator[Bare]:
    with bare_server(request.param, connections_max=BOUND) as started:
        yield started


@pytest.fixture
def clients(server: Bare) -> Iterator[list[Client]]:
    opened: list[Client] = []
    for number in range(BOUND):
        opened.append(server.connect())
        eventually(lambda n=number: server.open_connections == n + 1)  # type: ignore[misc]
    yield opened
    for client in opened:
        client.close()


def test_the_longest_idle_connection_is_closed(server: Bare, clients: list[Client]) -> None:
    for client in (clients[0], *clients[2:]):
        client.send(GET)
        assert client.reply().status == 200
    # The second is idle for the longest time, then the first, which was used before the others.
    for number in (1, 0, 2):
        newcomer = server.connect()
        newcomer.send(HOLD)
        assert clients[number].is_closed()
        clients[number].close()
        clients[number] = newcomer
    for client in clients[3:]:
        client.send(GET)
        assert client.reply().status == 200


def test_a_connection_beyond_the_bound_gets_503(server: Bare, clients: list[Client]) -> None:
    for client in clients:
        client.send(HOLD)
    eventually(lambda: len(server.application.requests) == BOUND)
    for _ in range(40):
        reply = server.ask(GET)
        assert (reply.said, reply.headers["connection"], reply.headers["retry-after"]) == (BUSY, "close", "1")
    server.application.go_on.set()
    assert [client.reply().status for client in clients] == [200] * BOUND
    assert server.ask(GET).status == 200


def test_few_rejected_connections_stay_open(server: Bare, clients: list[Client]) -> None:
    for client in clients:
        client.send(HOLD)
    eventually(lambda: len(server.application.requests) == BOUND)
    refused = [server.connect() for _ in range(100)]
    assert refused[-1].reply().said == BUSY
    eventually(lambda: server.open_connections <= BOUND + 16)
    for client in refused:
        client.close()


@pytest.mark.parametrize("part", [b"GET / HT", b"\r\n"])
def test_slow_requests_are_closed_for_new_connections(
    server: Bare, clients: list[Client], part: bytes
) -> None:
    for client in clients:
        client.send(part)
    eventually(lambda: server.ask(GET).status == 200)


def test_each_process_has_its_share_of_the_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reserved = reserved_descriptors(Settings(connections_max=8))
    assert reserved_descriptors(Settings(connections_max=18)) == reserved + 10
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(400, soft), hard))
        assert connections_bound(0, reserved) == 400 - reserved
        assert connections_bound(20, reserved) == 20
        assert connections_bound(5000, reserved) == 400 - reserved
        raise_open_files_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(hard, 65_536)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("workers", [1, 2])
def test_silent_connections_do_not_stop_the_service(folder: Path, database_url: str, workers: int) -> None:
    with Service(folder, open_files=256, database_url=database_url, workers=workers) as service:
        service.ready()
        silent = [Client.of(service.port) for _ in range(300)]
        try:
            began = time.monotonic()
            person = Person(f"someone{workers}", service.address)
            assert person.check_in(service.address)["score"] == 100
            assert person.generate(service.address)["code"] == 200
            ready = httpx.get(f"{service.address}/readyz", trust_env=False, timeout=30, verify=NO_TLS)
            assert ready.status_code == 200
            assert time.monotonic() - began < 60
        finally:
            for client in silent:
                client.close()
    for word in ("Traceback", "EMFILE", "Too many open files", "database", "DatabaseFailure"):
        assert word not in service.told.partition("Ctrl-C stops it")[2].partition("data  ")[2], service.told
