"""`POST /admin/verify` verifies the log, or names the first damage."""

import httpx
import psycopg
import pytest
import pytest_asyncio

from huajuan.audit.connection import AuditLimits
from tests.http.conftest import Person, body
from tests.http.past import Headers, head
from tests.http.test_admin import make_admin
from tests.services import client_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
BIT = "UPDATE log.huajuan_events SET state = state || %s WHERE notification_id = 3"
CUT = "UPDATE log.huajuan_events SET state = substr(state, 1, length(state) - 1) WHERE notification_id = 3"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ada(person: Person, module_database_url: str) -> Headers:
    headers = await person("ada", checked_in=True)
    await make_admin(module_database_url, "ada")
    return headers


async def test_a_whole_log(client: httpx.AsyncClient, ada: Headers, module_database_url: str) -> None:
    last = head(module_database_url)
    reply = await client.post("/admin/verify", headers=ada)
    assert (reply.status_code, reply.headers["cache-control"]) == (200, "no-store")
    told = {"message": "操作成功", "whole": True, "position": last, "last": last, "damage": None}
    assert body(reply) == told


async def test_a_changed_byte_is_named(
    client: httpx.AsyncClient, ada: Headers, module_database_url: str
) -> None:
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(BIT, (b" ",))
        told = body(await client.post("/admin/verify", headers=ada))
        connection.execute(CUT)
    assert (told["whole"], told["position"]) == (False, 2)
    assert (told["damage"]["position"], told["damage"]["kind"]) == (3, "changed")
    assert body(await client.post("/admin/verify", headers=ada))["whole"] is True


async def test_one_at_a_time(client: httpx.AsyncClient, ada: Headers, module_database_url: str) -> None:
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext('huajuan verify'))")
        reply = await client.post("/admin/verify", headers=ada)
    assert (reply.status_code, body(reply)) == (409, {"message": "请求正在处理中"})
    assert (await client.post("/admin/verify", headers=ada)).status_code == 200


async def test_without_time_nothing_is_claimed(
    client: httpx.AsyncClient, ada: Headers, module_database_url: str
) -> None:
    async with client_of(module_database_url, audit=AuditLimits(verify_seconds_max=0)) as hasty:
        told = body(await hasty.post("/admin/verify", headers=ada))
    assert (told["whole"], told["damage"]) == (None, None)
    assert 0 < told["position"] <= told["last"]
