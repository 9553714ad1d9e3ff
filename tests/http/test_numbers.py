"""Numbers too large for the database: each gets a documented error or is taken as text."""

from typing import Any

import httpx
import pytest

from huajuan.domain.rules import BALANCE_MAX
from tests.http.conftest import ORDER, body
from tests.http.test_admin import make_admin
from tests.services import client_of

HUGE = [2**63, 10**19, -(10**19), 10**400, 1e300]


async def somebody(client: httpx.AsyncClient, name: str) -> dict[str, str]:
    form = {"username": name, "email": f"{name}@example.org", "password": "secret"}
    assert (await client.post("/register", json=form)).status_code == 200
    return {"Authorization": (await client.post("/login", json=form)).json()["token"]}


async def no_table_stands_still(client: httpx.AsyncClient, ada: dict[str, str]) -> bool:
    found = (await client.get("/admin/projections", headers=ada)).json()["projections"]
    return all(one["stopped_at"] is None for one in found)


async def test_no_body_brings_a_number_into_the_log_that_a_table_cannot_hold(database_url: str) -> None:
    async with client_of(database_url, welcome_points=1_000_000) as client:
        ann, ada = await somebody(client, "ann"), await somebody(client, "ada")
        await make_admin(database_url, "ada")
        for number in HUGE:
            form: dict[str, Any] = {"change": number, "reason": "x", "force": True}
            reply = await client.post("/admin/users/ann/points", json=form, headers=ada)
            assert reply.status_code == 400, (number, reply.text)
            for field in ("width", "height", "steps"):
                reply = await client.post("/auth/generate", json=ORDER | {field: number}, headers=ann)
                assert reply.status_code == 400, (number, reply.text)
            for path in ("/auth/user/deleteImages", "/auth/user/restoreImages"):
                reply = await client.post(path, json={"ids": [number]}, headers=ann)
                assert reply.status_code == 400, (number, reply.text)
            reply = await client.post("/auth/addFavoritedImage", json={"id": number}, headers=ann)
            assert reply.status_code == 400, (number, reply.text)
        for seed in (2**64, -1, 10**400):
            reply = await client.post("/auth/generate", json=ORDER | {"seed": seed}, headers=ann)
            assert reply.status_code == 200, reply.text
        assert await no_table_stands_still(client, ada)


async def test_a_balance_at_its_end_is_told_so(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert BALANCE_MAX > 10**9
    monkeypatch.setattr("huajuan.domain.rules.BALANCE_MAX", 150)
    async with client_of(database_url, welcome_points=100) as client:
        ann, ada = await somebody(client, "ann"), await somebody(client, "ada")
        await make_admin(database_url, "ada")
        said = "积分余额超出允许范围"
        reply = await client.get("/auth/score", headers=ann)
        assert (reply.status_code, body(reply)) == (401, {"success": False, "message": said})
        for change in (51, -251):
            form = {"change": change, "reason": "x", "force": True}
            reply = await client.post("/admin/users/ann/points", json=form, headers=ada)
            assert (reply.status_code, body(reply)) == (409, {"message": said})
        assert await no_table_stands_still(client, ada)
