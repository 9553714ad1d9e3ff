"""A stopped projection is reported, an admin skips its event over HTTP, and it continues."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from huajuan.projections.registry import PROJECTIONS
from tests.http.keys import Send, die_before_the_reply, facts, fresh, send
from tests.http.test_admin import make_admin
from tests.projections.gallery import failing_projection
from tests.services import client_of, until


class StoppedService:
    """A service with a projection that cannot fold the account `ben`, as an admin uses it."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.headers: dict[str, str] = {}

    async def sit_down(self, dsn: str) -> None:
        for name in ("ada", "ben"):
            form = {"username": name, "email": f"{name}@example.org", "password": "secret"}
            assert (await self.client.post("/register", json=form)).status_code == 200
        await make_admin(dsn, "ada")
        reply = await self.client.post("/login", json={"username": "ada", "password": "secret"})
        self.headers = {"Authorization": reply.json()["token"]}

    async def look(self) -> dict[str, Any]:
        reply = await self.client.get("/admin/projections", headers=self.headers)
        told: dict[str, Any] = reply.json()["projections"][-1]
        return told

    async def has_stopped(self) -> bool:
        return (await self.look())["stopped_at"] is not None

    async def skip(self, position: int) -> int:
        form = {"position": position, "reason": "it is broken"}
        reply = await self.client.post("/admin/projections/failing/skip", json=form, headers=self.headers)
        return reply.status_code

    async def is_ready(self) -> bool:
        return (await self.client.get("/readyz")).status_code == 200


@pytest_asyncio.fixture
async def service(monkeypatch: pytest.MonkeyPatch, database_url: str) -> AsyncIterator[StoppedService]:
    bad = failing_projection(lambda event: event.username == "ben")
    for module in ("huajuan.bootstrap", "huajuan.projections.registry"):
        monkeypatch.setattr(f"{module}.PROJECTIONS", (*PROJECTIONS, bad))
    async with client_of(database_url) as client:
        service = StoppedService(client)
        await service.sit_down(database_url)
        yield service


async def test_the_event_that_stops_a_table_is_named(service: StoppedService) -> None:
    await until(service.has_stopped)
    told = await service.look()
    assert (told["name"], told["stopped_by"]) == ("failing", "ZeroDivisionError")
    assert (told["stopped_event"], told["stopped_at"]) == ("account.registered", told["position"] + 1)
    assert not await service.is_ready()


async def test_only_that_event_can_be_skipped_and_only_once(service: StoppedService) -> None:
    await until(service.has_stopped)
    culprit = (await service.look())["stopped_at"]
    assert [await service.skip(culprit - 1), await service.skip(culprit + 1)] == [409, 409]
    assert sorted(await asyncio.gather(*(service.skip(culprit) for _ in range(4)))) == [200, 409, 409, 409]
    await until(service.is_ready)
    told = await service.look()
    assert (told["stopped_at"], told["lag_events"]) == (None, 0)
    assert [(s["position"], s["event"], s["reason"]) for s in told["skips"]] == [
        (culprit, "account.registered", "it is broken")
    ]


async def test_a_second_run_finds_the_event_skipped_by_the_first(
    service: StoppedService, database_url: str
) -> None:
    """Its process died before the reply was stored, and the projection has continued since."""
    await until(service.has_stopped)
    form = {"position": (await service.look())["stopped_at"], "reason": "it is broken"}
    skip: Send = ("POST", "/admin/projections/failing/skip", {"json": form})
    first = await send(service.client, skip, "k", service.headers)
    await until(service.is_ready)
    die_before_the_reply(database_url)
    second = await send(service.client, skip, "k", service.headers)
    assert (first.status_code, second.status_code, fresh([second])) == (200, 200, [second])
    assert second.json()["projection"]["skips"][0]["position"] == form["position"]
    assert (await send(service.client, skip, "another", service.headers)).status_code == 409
    assert facts(database_url, "read_table.event_skipped") == 1
