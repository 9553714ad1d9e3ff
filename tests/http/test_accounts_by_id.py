"""Each admin route on an account also takes the account's id, whatever its username is."""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from tests.http.conftest import Person, body
from tests.http.odd_names import registered_long_ago
from tests.http.past import Headers
from tests.http.test_admin import make_admin

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAMES = ["a/b", ".", "..", "id", "id/1", "x\u2060", "小明"]
UNKNOWN = {"message": "用户不存在"}


class Known(NamedTuple):
    """The headers of an admin, and the ids of all accounts by name."""

    ada: Headers
    ids: dict[str, int]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def known(client: httpx.AsyncClient, person: Person, module_database_url: str) -> AsyncIterator[Known]:
    ada = await person("ada")
    await make_admin(module_database_url, "ada")
    await registered_long_ago(module_database_url, *NAMES)
    await person("last")  # by now the table of users shows the others too
    users = (await client.get("/user/all")).json()["users"]
    yield Known(ada, {user["username"]: user["id"] for user in users})


@pytest.mark.parametrize("name", NAMES)
async def test_an_account_of_any_name_can_be_acted_upon(
    client: httpx.AsyncClient, known: Known, name: str
) -> None:
    path, form = f"/admin/users/id/{known.ids[name]}", {"username": name, "password": "secret"}

    async def act(what: str, **sent: Any) -> dict[str, Any]:
        reply = await client.post(f"{path}/{what}", json=sent, headers=known.ada)
        assert reply.status_code == 200, reply.text
        return body(reply)

    assert (await act("points", change=50, reason="sorry"))["score"] == 50
    await act("ban", reason="spam")
    assert (await client.post("/login", json=form)).status_code == 403
    await act("unban", reason="forgiven")
    logged_in = await client.post("/login", json=form)
    assert logged_in.status_code == 200
    own = {"Authorization": logged_in.json()["token"]}
    assert body(await client.get("/auth/user/info", headers=own))["user"]["score"] == 50
    profile = body(await client.get(f"{path}/profile", headers=known.ada))["profile"]
    assert (profile["username"], profile["id"], profile["score"]) == (name, known.ids[name], 50)
    timeline = body(await client.get(f"{path}/timeline", headers=known.ada))["timeline"]
    assert [line["event"].split(".")[1] for line in timeline[:3]] == ["unbanned", "banned", "points_granted"]
    entries = body(await client.get(f"{path}/points", headers=known.ada))["entries"]
    assert [entry["balance"] for entry in entries] == [0, 50]
    assert body(await client.get(f"{path}/gallery", headers=known.ada))["images"] == []


async def test_the_account_whose_name_is_the_word_is_reached_by_its_name(
    client: httpx.AsyncClient, known: Known
) -> None:
    profile = body(await client.get("/admin/users/id/profile", headers=known.ada))["profile"]
    assert (profile["username"], profile["id"]) == ("id", known.ids["id"])
    reply = await client.post("/admin/users/id/ban", json={"reason": "x"}, headers=known.ada)
    assert reply.status_code == 200
    reply = await client.post("/admin/users/id/unban", json={"reason": "x"}, headers=known.ada)
    assert reply.status_code == 200


@pytest.mark.parametrize(
    "number", ["0", "999999", "-1", "+1", "1.0", "x", "ada", "１", "9" * 19, "9" * 5000, "points", "2"]
)
async def test_what_is_nobodys_id_is_nobody(client: httpx.AsyncClient, known: Known, number: str) -> None:
    """A position of the log without a registration is no id of an account."""
    path = f"/admin/users/id/{number}"
    replies = [await client.get(f"{path}/{what}", headers=known.ada) for what in ("profile", "points")]
    replies.append(await client.post(f"{path}/ban", json={"reason": "x"}, headers=known.ada))
    assert [(reply.status_code, body(reply)) for reply in replies] == [(404, UNKNOWN)] * 3


async def test_a_slash_of_a_name_leads_to_no_other_account(client: httpx.AsyncClient, known: Known) -> None:
    number = known.ids["小明"]
    for segment in (f"id%2F{number}", f"id%2f{number}", f"id/{number}%2F"):
        reply = await client.post(f"/admin/users/{segment}/ban", json={"reason": "x"}, headers=known.ada)
        assert (reply.status_code, body(reply)) == (404, {"message": "接口不存在"})


async def test_an_erased_account_has_its_past_by_its_id(
    client: httpx.AsyncClient, person: Person, known: Known
) -> None:
    gone = await person("gone")
    number = body(await client.get("/auth/user/info", headers=gone))["user"]["id"]
    assert (await client.delete("/auth/root/deleteOneUser?isOwn=true", headers=gone)).status_code == 200
    path = f"/admin/users/id/{number}"
    for what in ("profile", "timeline", "points", "gallery"):
        assert (await client.get(f"{path}/{what}", headers=known.ada)).status_code == 200
    assert body(await client.get(f"{path}/profile", headers=known.ada))["profile"]["erased"]
    for what in ("ban", "unban", "points"):
        form = {"reason": "x", "change": 1}
        reply = await client.post(f"{path}/{what}", json=form, headers=known.ada)
        assert (reply.status_code, body(reply)) == (404, UNKNOWN)


async def test_only_admins_ask_by_id(client: httpx.AsyncClient, person: Person, known: Known) -> None:
    ann, path = await person("ann"), f"/admin/users/id/{known.ids['a/b']}/points"
    for number in (known.ids["a/b"], 999999):
        path = f"/admin/users/id/{number}/points"
        assert (await client.get(path)).status_code == 401
        assert (await client.get(path, headers=ann)).status_code == 403
        assert (await client.post(path, json={}, headers=ann)).status_code == 403


async def test_a_copy_of_an_act_by_id_changes_nothing(client: httpx.AsyncClient, known: Known) -> None:
    path, keyed = f"/admin/users/id/{known.ids['..']}/points", {"Idempotency-Key": "one", **known.ada}
    form = {"change": 7, "reason": "x"}
    first, second = [await client.post(path, json=form, headers=keyed) for _ in range(2)]
    assert (first.json(), second.headers["idempotency-replayed"]) == (second.json(), "true")


async def test_the_log_of_requests_tells_nobodys_name_and_no_id(
    client: httpx.AsyncClient, known: Known
) -> None:
    with capture_logs() as told:
        for path in ("ada/profile", f"id/{known.ids['a/b']}/profile", "a%2Fb/profile", "ada/nothing", "ada"):
            await client.get(f"/admin/users/{path}", headers=known.ada)
    paths = [line["path"] for line in told if line["event"] == "request"]
    assert len(paths) == 5
    assert not any(name in path for path in paths for name in ("ada", "a/b", "b/", f"/{known.ids['a/b']}/"))
