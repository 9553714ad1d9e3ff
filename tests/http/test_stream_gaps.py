"""A gap in a stream gives documented errors, and `/readyz` and `verify` report it."""

import httpx

from tests.event_store.helpers import log_rows
from tests.event_store.log_damage import cut, tear
from tests.services import client_of, until

FORM = {"username": "ann", "email": "ann@example.org", "password": "secret"}
OTHER = {"username": "ben", "email": "ben@example.org", "password": "secret"}


async def registered(client: httpx.AsyncClient, form: dict[str, str]) -> dict[str, str]:
    assert (await client.post("/register", json=form)).status_code == 200
    token = (await client.post("/login", json=form)).json()["token"]
    own = {"Authorization": f"Bearer {token}"}
    for _ in range(4):
        assert (await client.get("/auth/score", headers=own)).status_code == 200
    return own


async def problems(client: httpx.AsyncClient) -> dict[str, bool]:
    reply = (await client.get("/readyz")).json()
    return {problem["name"]: problem["blocking"] for problem in reply["problems"]}


async def test_an_account_with_a_gap_from_before_is_refused_as_planned(database_url: str) -> None:
    async with client_of(database_url, check_in_limit="none") as client:
        ann, ben = await registered(client, FORM), await registered(client, OTHER)
    stream = next(stream for _, stream, version in log_rows(database_url) if version == 5)
    tear(database_url, stream, (3,))
    async with client_of(database_url, check_in_limit="none") as client:
        for method, path in (("GET", "/auth/score"), ("GET", "/auth/user/info"), ("POST", "/login")):
            reply = await client.request(method, path, headers=ann, json=FORM if method == "POST" else None)
            assert reply.status_code in (500, 503), path
            assert "request_id" not in reply.json(), "unplanned"
        assert (await client.get("/auth/score", headers=ben)).status_code == 200

        async def is_told() -> bool:
            return await problems(client) == {"stream_gap": False}

        await until(is_told)
        assert (await client.get("/readyz")).json()["status"] == "degraded"


async def test_a_read_table_ahead_of_the_log_stops_and_the_remedy_is_told(database_url: str) -> None:
    async with client_of(database_url, check_in_limit="none") as client:
        await registered(client, FORM)
    cut(database_url, 3)

    async def is_told(client: httpx.AsyncClient) -> bool:
        reply = (await client.get("/readyz")).json()
        tables = reply["projections"].values()
        return {"read_table_ahead"} == {problem["name"] for problem in reply["problems"]} and all(
            table["stopped_by"] == "AheadOfLog" for table in tables
        )

    async with client_of(database_url, check_in_limit="none", read_own_writes_seconds_max=0.01) as client:
        await until(lambda: is_told(client))
        assert "huajuan rebuild" in (await client.get("/readyz")).json()["problems"][0]["detail"]
        for number in range(9):  # the log grows beyond the tables' positions
            form = {**OTHER, "username": f"u{number}", "email": f"u{number}@example.org"}
            assert (await client.post("/register", json=form)).status_code == 200
        assert await is_told(client)
    async with client_of(database_url) as client:
        await until(lambda: is_told(client))
