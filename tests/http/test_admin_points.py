"""The audit of points explains a balance from the log and compares it with the read table."""

import asyncio
import csv
import io
from typing import Any

import httpx
import psycopg
import pytest
import pytest_asyncio

from huajuan.projections.point_balances import POINT_BALANCES
from tests.http.conftest import ORDER, Person, body
from tests.http.past import Headers
from tests.http.test_admin import make_admin
from tests.jobs.fake_server import FakeInferenceServer

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATH = "/admin/users/ann/points"
KEYS = [
    "position", "time", "what", "change", "balance", "held", "reason", "image", "image_id", "picture",
    "actor", "correlation_id", "status", "generation_id",
]  # fmt: skip


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ada(client: httpx.AsyncClient, person: Person, module_database_url: str) -> Headers:
    """Gave Ann 5 points, after a picture of hers."""
    headers = await person("ada")
    await make_admin(module_database_url, "ada")
    ann = await person("ann", checked_in=True)
    assert (await client.post("/auth/generate", json=ORDER, headers=ann)).status_code == 200
    form = {"change": 5, "reason": "=nice()"}
    assert (await client.post(PATH, json=form, headers=headers)).status_code == 200
    return headers


async def replayed(client: httpx.AsyncClient, ada: Headers) -> dict[str, Any]:
    reply = await client.get(PATH, headers=ada)
    assert (reply.status_code, reply.headers["cache-control"]) == (200, "no-store")
    return body(reply)


async def test_every_event_has_its_line_and_its_cause(client: httpx.AsyncClient, ada: Headers) -> None:
    told = await replayed(client, ada)
    entries = told["entries"]
    assert [list(entry) for entry in entries] == [KEYS] * 5
    assert [(e["what"], e["change"], e["balance"], e["held"], e["reason"]) for e in entries] == [
        ("registered", 0, 0, 0, None), ("checked_in", 100, 100, 0, None), ("points_held", -20, 80, 20, None),
        ("points_settled", 0, 80, 0, None), ("points_granted", 5, 85, 0, "=nice()"),
    ]  # fmt: skip
    assert [entry["actor"] for entry in entries] == [None, None, None, None, "ada"]
    pictures = {(e["image_id"], e["picture"]) for e in entries if e["image"]}
    assert len(pictures) == 1
    shown = body(await client.get(f"/auth/image?id={entries[2]['image_id']}", headers=ada))["image"]
    assert pictures == {(shown["id"], shown["picture"])}
    assert [(e["status"], e["generation_id"]) for e in entries if e["image"]] == [
        ("settled", shown["generation_id"])
    ] * 2
    assert all(entry["correlation_id"] for entry in entries)
    assert told["totals"] == {
        "granted": 105, "available": 85, "held": 0, "spent": 20, "deducted": 0, "forfeited": 0,
    }  # fmt: skip
    assert told["agrees"] is True
    assert told["verdict"].startswith("table agrees")


async def test_a_table_that_errs_is_told(
    client: httpx.AsyncClient, ada: Headers, module_database_url: str
) -> None:
    change = (
        f"UPDATE {POINT_BALANCES.schema}.point_balances SET available = available + %s WHERE granted = 105"
    )
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        connection.execute(change, (7,))
        told = await replayed(client, ada)
        connection.execute(change, (-7,))
    assert told["agrees"] is False
    assert "available is 92 and the log makes it 85" in told["verdict"]
    past = body(await client.get(f"{PATH}?as_of={told['entries'][2]['position']}", headers=ada))
    assert (past["agrees"], past["totals"]["held"]) == (None, 20)


@pytest.mark.parametrize("as_csv", [{"params": {"format": "csv"}}, {"headers": {"Accept": "text/csv"}}])
async def test_csv(client: httpx.AsyncClient, ada: Headers, as_csv: dict[str, Any]) -> None:
    headers = ada | as_csv.get("headers", {})
    reply = await client.get(PATH, params=as_csv.get("params"), headers=headers)
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(reply.text, newline="")))
    assert list(rows[0]) == KEYS
    assert [row["change"] for row in rows] == ["0", "100", "-20", "0", "5"]
    assert rows[-1]["reason"] == "'=nice()"
    excel = await client.get(f"{PATH}?format=csv-excel", headers=ada)
    assert excel.content == b"\xef\xbb\xbf" + reply.content
    refused = await client.get(f"{PATH}?format=xml", headers=ada)
    assert (refused.status_code, body(refused)["error"]) == (400, "format")


async def test_what_became_of_a_hold_does_not_depend_on_the_page(
    client: httpx.AsyncClient, ada: Headers
) -> None:
    whole = (await replayed(client, ada))["entries"]
    pages, url = [], f"{PATH}?limit=1"
    while url:
        reply = await client.get(url, headers=ada)
        pages += body(reply)["entries"]
        url = reply.links.get("next", {}).get("url", "").removeprefix("http://pictures.example")
    assert pages == whole
    held = next(entry for entry in whole if entry["what"] == "points_held")
    (*_, then) = body(await client.get(f"{PATH}?as_of={held['position']}", headers=ada))["entries"]
    assert (then["status"], held["status"]) == ("held", "settled")
    assert then["generation_id"] in (None, held["generation_id"])


async def test_points_held_at_an_erasure_are_forfeited(
    client: httpx.AsyncClient, ada: Headers, person: Person, host: FakeInferenceServer
) -> None:
    ben = await person("ben", checked_in=True)
    host.gate.clear()
    try:
        await client.post("/auth/generate", json=ORDER, headers=ben | {"Prefer": "respond-async"})
        gone = await client.delete("/auth/root/deleteOneUser?isOwn=true", headers=ben)
        assert gone.status_code == 200
    finally:
        host.gate.set()
    entries = body(await client.get("/admin/users/ben/points", headers=ada))["entries"]
    assert [(e["status"]) for e in entries if e["image"]] == ["forfeited"]


def _tear_the_last(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE log.huajuan_events DISABLE TRIGGER ALL")
        connection.execute(
            "UPDATE log.huajuan_events SET state = 'x' WHERE notification_id = "
            "(SELECT max(notification_id) FROM log.huajuan_events)"
        )
        connection.execute("ALTER TABLE log.huajuan_events ENABLE TRIGGER ALL")


async def test_a_log_that_cannot_be_read_tells_a_client_nothing(
    client: httpx.AsyncClient, ada: Headers, person: Person, module_database_url: str
) -> None:
    await person("torn", checked_in=True)
    await asyncio.to_thread(_tear_the_last, module_database_url)
    for what in ("points", "timeline", "profile"):
        reply = await client.get(f"/admin/users/torn/{what}", headers=ada)
        assert reply.status_code == 500
        assert set(body(reply)) == {"message", "request_id"}
