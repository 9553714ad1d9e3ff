"""The timeline has every event of an account, with a sentence in both languages."""

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
import pytest_asyncio

from huajuan.audit.past import _TIMELINE
from tests.event_store.helpers import log_rows
from tests.http.conftest import ORDER, Person, body
from tests.http.past import Headers, Life
from tests.http.test_admin import make_admin
from tests.jobs.fake_server import FakeInferenceServer

pytestmark = pytest.mark.asyncio(loop_scope="module")
SOMEBODY = UUID(int=7)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ada(person: Person, module_database_url: str) -> Headers:
    headers = await person("ada")
    await make_admin(module_database_url, "ada")
    return headers


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def life(
    client: httpx.AsyncClient,
    person: Person,
    host: FakeInferenceServer,
    ada: Headers,
    module_database_url: str,
) -> Life:
    """An account whose former e-mail address another account has taken."""
    life = Life(client, module_database_url, person, host)
    await life.live(ada)
    other = await person("heir")
    for who, email in ((life.me, "moved@example.org"), (other, "pierre@example.org")):
        reply = await client.put("/auth/user/update", json={"email": email}, headers=who)
        assert reply.status_code == 200
    await client.put("/auth/user/update", json={"password": "another"}, headers=other)
    return life


async def told(client: httpx.AsyncClient, ada: Headers, name: str = "pierre") -> list[dict[str, Any]]:
    reply = await client.get(f"/admin/users/{name}/timeline", headers=ada)
    assert (reply.status_code, body(reply)["message"]) == (200, "操作成功")
    lines: list[dict[str, Any]] = body(reply)["timeline"]
    return lines


def touching(dsn: str, account: UUID, role: UUID) -> Iterator[int]:
    """The positions of all events of an account, from a scan of the whole log."""
    owners: dict[UUID, str] = {}
    columns = "notification_id, originator_id, convert_from(state, 'UTF8')"
    for position, stream, state in log_rows(dsn, columns):
        owners[stream] = json.loads(state).get("account_id", owners.get(stream, ""))
        if stream in (account, role) or owners[stream] == str(account):
            yield position


@pytest.mark.parametrize("name", ["pierre", "benoit", "heir", "ada"])
async def test_a_timeline_has_every_event_that_touched_the_account(
    client: httpx.AsyncClient, ada: Headers, life: Life, module_database_url: str, name: str
) -> None:
    lines = await told(client, ada, name)
    profile = body(await client.get(f"/admin/users/{name}/profile", headers=ada))["profile"]
    account = UUID(profile["account_id"])
    with psycopg.connect(module_database_url) as connection:
        query = "SELECT originator_id FROM log.huajuan_events WHERE topic = 'admin.granted'"
        roles = [row[0] for row in connection.execute(query).fetchall()] if name == "ada" else []
    due = list(touching(module_database_url, account, roles[0] if roles else account))
    assert [line["position"] for line in lines] == due[::-1]
    assert len(due) == len(set(due)) > 2


async def test_a_life_in_sentences(client: httpx.AsyncClient, ada: Headers, life: Life) -> None:
    lines = (await told(client, ada))[::-1]
    picture = life.known[2].images[0]["id"]
    english, chinese = [line["en"] for line in lines], [line["zh"] for line in lines]
    assert english[0] == "registered as pierre with the e-mail address pierre@example.org"
    assert chinese[0] == "以用户名 pierre、邮箱 pierre@example.org 注册"
    for sentence in (
        f"had 20 points held for image #{picture}, balance 80",
        f"asked for image #{picture}: sun (220×200, 30 steps, DDIM, seed 7)",
        f"image #{picture} was drawn", "changed the e-mail address to pierre@example.com",
        "took the avatar away", f"liked image #{picture}", f"took back the like of image #{picture}",
        f"added image #{picture} to the favorites", f"removed image #{picture} from the favorites",
        f"restored image #{picture}", "was granted 50 points, balance 110: sorry (by ada)",
        "lost 30 points, balance 80: a mistake (by ada)", "gave an e-mail address up",
    ):  # fmt: skip
        assert sentence in english
    assert "获得 50 积分，余额 110：sorry（操作者：ada）" in chinese
    assert any("月 {moon}（220×200，30 步，DDIM，种子 π）" in line for line in chinese)
    failed = next(line for line in lines if line["event"] == "image.drawing_failed")
    assert failed["image_id"] is None
    assert failed["image"][:8] in failed["en"]
    drawn = next(line for line in lines if line["event"] == "image.drawn")
    assert (drawn["image_id"], drawn["position"]) == (picture, picture)
    granted = next(line for line in lines if line["event"] == "account.points_granted")
    assert granted["actor"] == "ada"
    assert all(line["correlation_id"] for line in lines)
    assert "hash" not in str(lines)


async def test_what_the_log_still_tells_of_the_erased(
    client: httpx.AsyncClient, person: Person, ada: Headers
) -> None:
    ann = await person("ephemeral", checked_in=True)
    await client.post("/auth/generate", json=ORDER | {"prompt": "secret wish"}, headers=ann)
    for form in ({"change": 5, "reason": "ephemeral asked"}, {"change": -5, "reason": "ephemeral again"}):
        reply = await client.post("/admin/users/ephemeral/points", json=form, headers=ada)
        assert reply.status_code == 200
    erased = await client.delete("/auth/root/deleteOneUser", params={"isOwn": "true"}, headers=ann)
    assert erased.status_code == 200
    lines = (await told(client, ada, "ephemeral"))[::-1]
    assert lines[0]["en"] == "registered as (erased) with the e-mail address (erased)"
    assert lines[0]["zh"] == "以用户名 （已抹除）、邮箱 （已抹除） 注册"
    assert "was erased and forfeited 80 available and 0 held points" in [line["en"] for line in lines]
    assert "gave an e-mail address up" in [line["en"] for line in lines]
    assert "被扣除 5 积分，余额 80：（已抹除）（操作者：ada）" in [line["zh"] for line in lines]
    assert not re.search(r"ephemeral|secret wish", str(lines))


async def test_the_streams_are_found_by_index(client: httpx.AsyncClient, module_database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(module_database_url) as connection:
        await connection.execute("SET enable_seqscan = off")
        values = ([SOMEBODY], str(SOMEBODY), str(SOMEBODY), 10**9, 10)
        plan = await (await connection.execute(f"EXPLAIN {_TIMELINE}".encode(), values)).fetchall()
    text = "\n".join(line for (line,) in plan)
    assert "Seq Scan" not in text
    assert text.count("events_about_account") == 2
