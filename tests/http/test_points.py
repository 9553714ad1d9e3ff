"""One's own points over HTTP: balance, held points, and the history of changes."""

import asyncio
import csv
import io
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import pytest_asyncio

from huajuan.inference_client import DrawingFailed
from huajuan.projections.point_history import POINT_HISTORY
from huajuan.projections.queries.points import _CHANGES
from huajuan.projections.users import USERS
from tests.http.conftest import ORDER, Person, body
from tests.jobs.fake_server import FakeInferenceServer
from tests.services import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
ADDRESS = "http://pictures.example"
Headers = dict[str, str]
PATH = "/auth/points/history"
KEYS = ["time", "change", "balance", "reason", "image_id", "picture", "actor", "status", "generation_id"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def drawn() -> list[dict[str, Any]]:
    return []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def painter(client: httpx.AsyncClient, person: Person, drawn: list[dict[str, Any]]) -> Headers:
    """Has checked in and had two pictures drawn."""
    painter = await person("pointillist", checked_in=True)
    orders = [{**ORDER, "prompt": prompt} for prompt in ("sun", "moon")]
    drawn += [body(await client.post("/auth/generate", json=order, headers=painter)) for order in orders]
    return painter


async def history(client: httpx.AsyncClient, who: Headers, **query: Any) -> list[dict[str, Any]]:
    found = body(await client.get(PATH, params=query, headers=who))
    assert found["message"] == "操作成功"
    listed: list[dict[str, Any]] = found["history"]
    return listed


async def jobs(client: httpx.AsyncClient, who: Headers) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body(await client.get("/auth/generations", headers=who))["generations"]
    return found


async def test_points(client: httpx.AsyncClient, person: Person, painter: Headers) -> None:
    for who, score in ((painter, 60), (await person(), 0)):
        reply = await client.get("/auth/points", headers=who)
        assert (reply.status_code, body(reply)) == (200, {"message": "操作成功", "score": score, "held": 0})
        assert reply.headers["cache-control"] == "no-store"


async def test_points_are_held_while_a_picture_is_drawn(
    client: httpx.AsyncClient, person: Person, host: FakeInferenceServer
) -> None:
    ann = await person(checked_in=True)

    async def shown() -> dict[str, Any]:
        return body(await client.get("/auth/points", headers=ann))

    async def is_held() -> bool:
        return bool((await shown())["held"])

    host.gate.clear()
    drawing = asyncio.create_task(client.post("/auth/generate", json=ORDER, headers=ann))
    try:
        await until(is_held)
        assert await shown() == {"message": "操作成功", "score": 80, "held": 20}
        (held, _) = await history(client, ann)
        assert (held["change"], held["image_id"], held["picture"]) == (-20, None, None)
        assert (held["status"], held["generation_id"]) == ("held", (await jobs(client, ann))[0]["id"])
    finally:
        host.gate.set()
        await drawing
    assert await shown() == {"message": "操作成功", "score": 80, "held": 0}
    (settled, check_in) = await history(client, ann)
    assert settled == held | {k: settled[k] for k in ("image_id", "picture")} | {"status": "settled"}
    assert (check_in["status"], check_in["generation_id"]) == (None, None)


@pytest.mark.parametrize("path", ["/auth/points", PATH])
async def test_a_token_is_needed(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path)
    assert (reply.status_code, body(reply)) == (401, {"message": "请求头中缺少Token"})


async def test_every_change_has_its_cause_and_they_sum_to_the_balance(
    client: httpx.AsyncClient, painter: Headers, drawn: list[dict[str, Any]]
) -> None:
    listed = await history(client, painter)
    assert [list(entry) for entry in listed] == [KEYS] * 3
    assert [(e["change"], e["balance"], e["reason"]) for e in listed] == [
        (-20, 60, "held"), (-20, 80, "held"), (100, 100, "check_in"),
    ]  # fmt: skip
    assert [(e["image_id"], e["picture"]) for e in listed] == [
        (drawn[1]["id"], drawn[1]["image_url"]), (drawn[0]["id"], drawn[0]["image_url"]), (None, None),
    ]  # fmt: skip
    assert {e["actor"] for e in listed} == {None}
    assert sum(e["change"] for e in listed) == 60
    times = [datetime.fromisoformat(e["time"]) for e in listed]
    assert times == sorted(times, reverse=True)


async def test_a_new_account_has_no_history(client: httpx.AsyncClient, person: Person) -> None:
    assert await history(client, await person()) == []


async def test_points_of_a_picture_that_failed_come_back(
    client: httpx.AsyncClient, person: Person, host: FakeInferenceServer
) -> None:
    ann = await person(checked_in=True)
    host.failures.append(DrawingFailed("out of memory", "a trace"))
    assert (await client.post("/auth/generate", json=ORDER, headers=ann)).status_code == 500
    listed = await history(client, ann)
    assert [(e["change"], e["balance"]) for e in listed] == [(20, 100), (-20, 80), (100, 100)]
    assert [e["image_id"] for e in listed] == [None] * 3
    (job,) = await jobs(client, ann)
    assert [(e["status"], e["generation_id"]) for e in listed] == [("returned", job["id"])] * 2 + [
        (None, None)
    ]


async def test_points_of_a_cancelled_job_come_back(
    client: httpx.AsyncClient, person: Person, host: FakeInferenceServer
) -> None:
    ann = await person(checked_in=True)
    host.gate.clear()
    try:
        asked = await client.post("/auth/generate", json=ORDER, headers=ann | {"Prefer": "respond-async"})
        assert (await history(client, ann))[0]["status"] == "held"
        await client.delete(f"/auth/generations/{asked.json()['id']}", headers=ann)
    finally:
        host.gate.set()
    listed = await history(client, ann)
    assert [(e["reason"], e["status"], e["generation_id"]) for e in listed[:2]] == [
        ("cancelled", "returned", asked.json()["id"]), ("held", "returned", asked.json()["id"]),
    ]  # fmt: skip


async def test_a_deleted_picture_keeps_its_id_and_has_no_address(
    client: httpx.AsyncClient, painter: Headers, drawn: list[dict[str, Any]]
) -> None:
    ids = {"ids": [drawn[0]["id"]]}
    await client.post("/auth/user/deleteImages", json=ids, headers=painter)
    listed = await history(client, painter)
    await client.post("/auth/user/restoreImages", json=ids, headers=painter)
    assert (listed[1]["image_id"], listed[1]["picture"]) == (drawn[0]["id"], None)


async def test_pages_join_without_gap_or_overlap(client: httpx.AsyncClient, painter: Headers) -> None:
    whole, pages = await history(client, painter), []
    url = f"{PATH}?limit=1"
    while url:
        reply = await client.get(url, headers=painter)
        pages += body(reply)["history"]
        url = reply.links.get("next", {}).get("url", "").removeprefix(ADDRESS)
    assert pages == whole


@pytest.mark.parametrize("as_csv", [{"params": {"format": "csv"}}, {"headers": {"Accept": "text/csv"}}])
async def test_csv(client: httpx.AsyncClient, painter: Headers, as_csv: dict[str, Any]) -> None:
    headers = painter | as_csv.get("headers", {})
    reply = await client.get(PATH, params=as_csv.get("params"), headers=headers)
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(reply.text, newline="")))
    assert rows == [
        {key: "" if value is None else str(value) for key, value in entry.items()}
        for entry in await history(client, painter)
    ]
    assert list(rows[0]) == KEYS
    excel = await client.get(f"{PATH}?format=csv-excel", headers=painter)
    assert excel.content == b"\xef\xbb\xbf" + reply.content
    assert excel.headers["content-type"] == "text/csv; charset=utf-8"
    limited = await client.get(f"{PATH}?limit=1&format=csv", headers=painter)
    assert len(limited.text.splitlines()) == 2
    assert "format=csv" in limited.links["next"]["url"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("text/csv;q=0.1, application/json", "application/json"),
        ("text/csv, application/json;q=0.5", "text/csv"),
        ("text/*", "text/csv"),
        ("image/png", "application/json"),
        ("nonsense;;q=x", "application/json"),
        ("text/csv;q=1e400", "application/json"),
    ],
)
async def test_what_is_accepted(client: httpx.AsyncClient, painter: Headers, accept: str, kind: str) -> None:
    reply = await client.get(PATH, headers=painter | {"Accept": accept})
    assert reply.headers["content-type"].split(";")[0] == kind
    assert reply.headers["vary"].split(", ")[0] == "Accept"


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit"), ("after=x", "after"),
        ("after=LTE", "after"), ("after=OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "after"), ("format=xml", "format"),
        ("format=CSV", "format"), ("format=csv-", "format"),
        ("limit=1&limit=2", "limit"),
    ],
)  # fmt: skip
async def test_a_bad_parameter_is_named(
    client: httpx.AsyncClient, painter: Headers, query: str, named: str
) -> None:
    reply = await client.get(f"{PATH}?{query}", headers=painter | {"Accept": "text/csv"})
    assert (reply.status_code, body(reply)) == (400, {"message": "查询参数无效", "error": named})


async def test_reasons_are_no_formulas_and_actors_are_named(
    client: httpx.AsyncClient, person: Person, module_database_url: str
) -> None:
    ann, admin = await person("formula-ann"), await person("=admin")
    async with await psycopg.AsyncConnection.connect(module_database_url, autocommit=True) as connection:
        query = f"SELECT account_id FROM {USERS.schema}.users WHERE username = %s"
        accounts = [
            (await (await connection.execute(query, (name,))).fetchall())[0][0]
            for name in ("formula-ann", "=admin")
        ]
        await connection.execute(
            f"INSERT INTO {POINT_HISTORY.schema}.point_history "
            "(id, account_id, time, change, balance, reason, image_id, actor) "
            "VALUES (%s, %s, now(), 5, 5, '=HYPERLINK(1)', %s, %s)",
            (10**9, accounts[0], uuid4(), accounts[1]),
        )
    (entry,) = await history(client, ann)
    assert (entry["reason"], entry["actor"], entry["image_id"]) == ("=HYPERLINK(1)", "=admin", None)
    reply = await client.get(f"{PATH}?format=csv", headers=ann)
    (row,) = csv.DictReader(io.StringIO(reply.text, newline=""))
    assert (row["reason"], row["actor"], row["change"]) == ("'=HYPERLINK(1)", "'=admin", "5")
    assert await history(client, admin) == []


async def test_the_history_is_read_by_index(client: httpx.AsyncClient, module_database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(module_database_url) as connection:
        await connection.execute("SET enable_seqscan = off")
        await connection.execute("SET enable_sort = off")
        values = {"account": uuid4(), "before": 10**9, "most": 10}
        plan = await (await connection.execute(f"EXPLAIN {_CHANGES}".encode(), values)).fetchall()
    text = "\n".join(line for (line,) in plan)
    assert "Seq Scan" not in text
    assert "Sort" not in text
    assert "Backward" in text
