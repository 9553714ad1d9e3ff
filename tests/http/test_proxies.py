"""One address for each client, behind trusted and untrusted proxies."""

import asyncio
import socket
from typing import Any

import httpx
import pytest
import structlog

from huajuan.http.middleware.normalization import PEERS_LOGGED_MAX, resolve_client
from tests.http.addresses import ELSEWHERE, HOME, form_of
from tests.services import client_of

Scope = dict[str, Any]


async def resolved(
    trusted: list[str], *headers: tuple[str, str], peer: tuple[str, int] | None = ("127.0.0.1", 5)
) -> Any:
    """The client address that the application receives."""
    seen: list[Any] = []

    async def app(scope: Any, *_: Any) -> None:
        seen.append(scope["client"])

    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    scope: Any = {"type": "http", "client": peer, "headers": raw}
    await resolve_client(app, trusted)(scope, None, None)  # type: ignore[arg-type]
    return seen[0]


async def test_the_application_sees_the_client_behind_a_trusted_proxy() -> None:
    header = ("X-Forwarded-For", HOME)
    assert await resolved(["127.0.0.1"], header) == (HOME, 0)
    assert await resolved([], header) == ("127.0.0.1", 5)
    assert await resolved(["10.0.0.0/8"], header) == ("127.0.0.1", 5)
    assert await resolved(["127.0.0.1"]) == ("127.0.0.1", 5)
    assert await resolved(["127.0.0.1"], header, peer=None) is None
    assert await resolved([], peer=("::ffff:203.0.113.9", 5)) == (HOME, 5)


async def test_several_lines_are_one_list_and_forwarded_comes_first() -> None:
    lines = [("X-Forwarded-For", ELSEWHERE), ("X-Forwarded-For", f"{HOME}, 127.0.0.1")]
    assert await resolved(["127.0.0.1"], *lines) == (HOME, 0)
    assert await resolved(["127.0.0.1"], ("Forwarded", "for=192.0.2.7"), *lines) == ("192.0.2.7", 0)
    forwarded = [("forwarded", "for=192.0.2.7"), ("FORWARDED", 'For="[2001:db8::1]:80";proto=https')]
    assert await resolved(["127.0.0.1"], *forwarded) == ("2001:db8::1", 0)


@pytest.mark.parametrize(
    "name", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP"]
)
async def test_a_forwarding_header_of_a_stranger_is_told_once(name: str) -> None:
    async def app(*_: Any) -> None: ...

    wrapped = resolve_client(app, ["10.0.0.1"])

    async def send(peer: str, *headers: tuple[bytes, bytes]) -> None:
        scope: Any = {"type": "http", "client": (peer, 5), "headers": list(headers)}
        await wrapped(scope, None, None)  # type: ignore[arg-type]

    header = (name.lower().encode(), b"203.0.113.9")
    with structlog.testing.capture_logs() as logs:
        await send("10.0.0.1", header)
        await send("127.0.0.1", (b"x-request-id", b"1"))
        assert logs == []
        for _ in range(3):
            await send("127.0.0.1", header)
        await send("127.0.0.2", header)
    assert [(line["peer"], line["header"], line["setting"], line["log_level"]) for line in logs] == [
        (peer, name.lower(), "HUAJUAN_TRUSTED_PROXIES", "warning") for peer in ("127.0.0.1", "127.0.0.2")
    ]
    with structlog.testing.capture_logs() as logs:
        for n in range(2 * PEERS_LOGGED_MAX):
            await send(f"10.1.{n // 250}.{n % 250}", header)
    assert len(logs) == PEERS_LOGGED_MAX - 2


async def test_the_request_log_has_the_clients_address(database_url: str) -> None:
    async with client_of(database_url, trusted_proxies=("127.0.0.0/8",)) as client:
        with structlog.testing.capture_logs() as logs:
            for path in ("/user/all", "/nowhere", "/auth/user/info"):
                await client.get(path, headers={"X-Forwarded-For": HOME})
            await client.get("/user/all")
    lines = [(line["path"], line["client"]) for line in logs if line["event"] == "request"]
    assert lines == [
        ("/user/all", HOME),
        ("/nowhere", HOME),
        ("/auth/user/info", HOME),
        ("/user/all", "127.0.0.1"),
    ]


async def test_what_a_stranger_says_of_its_address_changes_nothing(database_url: str) -> None:
    """Neither uvicorn nor the application uses forwarding headers of an untrusted client."""
    async with client_of(database_url) as client:
        with structlog.testing.capture_logs() as logs:
            for n in range(3):
                await client.get(
                    "/user/all", headers={"X-Forwarded-For": f"203.0.113.{n}", "Forwarded": "for=1.2.3.4"}
                )
    assert {line["client"] for line in logs if line["event"] == "request"} == {"127.0.0.1"}
    assert len([line for line in logs if "HUAJUAN_TRUSTED_PROXIES" in str(line)]) == 1


async def test_keys_before_logging_in_belong_to_the_clients_address(database_url: str) -> None:
    async with client_of(database_url, trusted_proxies=("127.0.0.1",)) as client:

        async def register(address: str, name: str) -> httpx.Response:
            headers = {"X-Forwarded-For": address, "Idempotency-Key": "the-same"}
            return await client.post("/register", json=form_of(name), headers=headers)

        assert (await register(HOME, "ann")).status_code == 200
        assert (await register(ELSEWHERE, "ben")).status_code == 200
        replayed = await register(f"9.9.9.9, {HOME}", "ann")
        assert (replayed.status_code, replayed.headers["idempotency-replayed"]) == (200, "true")
        assert (await register(HOME, "ben")).status_code == 422


async def test_headers_as_a_client_sends_them_over_the_wire(database_url: str) -> None:
    """Repeated headers, mixed case and invalid bytes, parsed by the real server."""
    async with client_of(database_url, trusted_proxies=("127.0.0.1", "::1")) as client:
        with structlog.testing.capture_logs() as logs:
            for lines in (
                b'fOrWaRdEd: for=_hidden\r\nForwarded: For="[2001:db8::7]:99";proto=https\r\n',
                b"X-FORWARDED-FOR: \xff\xfe, 203.0.113.9:81\r\n",
                b"x-forwarded-for: \xff\xfe\r\n",
            ):
                await asyncio.to_thread(exchange, str(client.base_url.host), client.base_url.port, lines)
    clients = [line["client"] for line in logs if line["event"] == "request"]
    assert clients == ["2001:db8::7", HOME, "127.0.0.1"]


def exchange(host: str, port: int | None, lines: bytes) -> None:
    with socket.create_connection((host, port or 0), timeout=30) as connection:
        connection.sendall(b"GET /user/all HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + lines + b"\r\n")
        while connection.recv(65536):
            pass
