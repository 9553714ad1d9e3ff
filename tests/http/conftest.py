"""One running service a module, and accounts that use it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest_asyncio

from tests.jobs.fake_server import FakeInferenceServer
from tests.services import client_of

ORDER = {
    "prompt": "sun", "width": 220, "height": 200, "steps": 30, "sampling_method": "DDIM", "seed": "7",
}  # fmt: skip
Person = Callable[..., Awaitable[dict[str, str]]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host() -> FakeInferenceServer:
    return FakeInferenceServer()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(module_database_url: str, host: FakeInferenceServer) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(module_database_url, host) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def person(client: httpx.AsyncClient) -> Person:
    """Registers a new account and returns its request headers."""
    numbers = iter(range(1_000_000))

    async def somebody(name: str = "", *, checked_in: bool = False) -> dict[str, str]:
        name = name or f"somebody{next(numbers)}"
        form = {"username": name, "email": f"{name}@example.org", "password": "secret"}
        assert (await client.post("/register", json=form)).status_code == 200
        token = (await client.post("/login", json=form)).json()["token"]
        headers = {"Authorization": token}
        if checked_in:
            assert (await client.get("/auth/score", headers=headers)).status_code == 200
        return headers

    return somebody


def body(reply: httpx.Response) -> dict[str, Any]:
    """The JSON body without `code`, which must be the status."""
    read: dict[str, Any] = reply.json()
    assert reply.headers["content-type"] == "application/json"
    assert read.pop("code") == reply.status_code
    return read
