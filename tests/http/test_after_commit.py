"""A failure after the commit of a request does not change its response."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio

from huajuan.auth.sessions import Sessions
from huajuan.event_store.errors import DatabaseUnavailable
from huajuan.event_store.loader import Loader, Snapshots
from huajuan.event_store.writer import Writer
from huajuan.jobs.outcomes import Completions
from huajuan.jobs.servers import ServerPool
from huajuan.postgres.statements import Statements
from huajuan.projections.engine.runner import Projector
from huajuan.projections.rebuild import process
from huajuan.runtime.logs import REQUEST_ID
from tests.http.conftest import ORDER
from tests.http.test_admin import make_admin
from tests.jobs.fake_server import FakeInferenceServer, png
from tests.services import client_of, until

Send = tuple[str, str, dict[str, Any]]
LIKE = "/auth/like"
REASON = {"reason": "x"}


class Faults:
    """After a request has appended an event, each further call of its service fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.committed: set[str] = set()
        self.met: set[str] = set()

    def begin(self) -> None:
        append = Writer.append

        async def appended(writer: Writer, rows: Any, *more: Any) -> list[int]:
            positions = await append(writer, rows, *more)
            self.committed.add(REQUEST_ID.get())
            return positions

        self._patch.setattr(Writer, "append", appended)
        self.fail(Statements, "run", DatabaseUnavailable)
        self.fail(Statements, "read", DatabaseUnavailable)
        self.fail(Loader, "update", DatabaseUnavailable)
        self.fail(Projector, "wait_for_position", RuntimeError)
        self.fail(ServerPool, "update", RuntimeError)
        self.fail(Sessions, "ended", RuntimeError, is_async=False)
        self.fail(Snapshots, "after_append", RuntimeError, is_async=False)
        self.fail(process, "_launch", OSError, is_async=False)

    def fail(self, owner: Any, name: str, error: type[Exception], *, is_async: bool = True) -> None:
        work = getattr(owner, name)

        def check() -> None:
            if REQUEST_ID.get() in self.committed:
                self.met.add(f"{owner.__name__}.{name}")
                raise error

        async def waited(*words: Any, **more: Any) -> Any:
            check()
            return await work(*words, **more)

        def at_once(*words: Any, **more: Any) -> Any:
            check()
            return work(*words, **more)

        self._patch.setattr(owner, name, waited if is_async else at_once)


class House:
    """A user with pictures and an admin, at a service that will fail."""

    def __init__(self, client: httpx.AsyncClient, host: FakeInferenceServer) -> None:
        self.client, self.host = client, host
        self.ann: dict[str, str] = {}
        self.ada: dict[str, str] = {}
        self.urls: list[str] = []
        self.queued = 0

    async def move_in(self, dsn: str) -> None:
        self.ann, self.ada = await self._somebody("ann"), await self._somebody("ada")
        await make_admin(dsn, "ada")
        for _ in range(3):
            reply = await self.client.post("/auth/generate", json=ORDER, headers=self.ann)
            self.urls.append(reply.json()["image_url"])
        await self._do("POST", LIKE, {"json": {"url": self.urls[1]}})
        await self._do("POST", "/auth/addFavoritedImage", {"json": {"url": self.urls[1]}})
        await self._do("POST", "/auth/user/deleteImages", {"json": {"urls": [self.urls[2]]}})
        await self._do("POST", "/admin/inference-servers", {"json": {"url": "http://gpu-9:8188", **REASON}})
        await self._somebody("ben")
        await self._do("POST", "/admin/users/ben/ban", {"json": REASON})

    async def _somebody(self, name: str) -> dict[str, str]:
        form = {"username": name, "email": f"{name}@example.org", "password": "secret"}
        assert (await self.client.post("/register", json=form)).status_code == 200
        reply = await self.client.post("/login", json={"username": name, "password": "secret"})
        return {"Authorization": reply.json()["token"]}

    async def _do(self, method: str, path: str, more: dict[str, Any]) -> None:
        assert (await self.send((method, path, more))).status_code == 200

    async def send(self, what: Send, key: str | None = None) -> httpx.Response:
        method, path, more = what
        headers = dict(self.ada if path.startswith("/admin") else self.ann)
        if key:
            headers["Idempotency-Key"] = key
        return await self.client.request(method, path, headers=headers, **more)


@pytest_asyncio.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    host = FakeInferenceServer()
    async with client_of(database_url, host, welcome_points=500) as client:
        house = House(client, host)
        await house.move_in(database_url)
        yield house


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(monkeypatch)


def writes(house: House) -> dict[str, tuple[Send, Callable[[dict[str, Any]], bool]]]:
    """Each writing route that needs no state of its own, with a check of its reply."""
    first, second, third = house.urls
    form = {"username": "carl", "email": "carl@example.org", "password": "secret"}
    upload = {"files": {"file": ("me.png", png(64, 64), "image/png")}}
    removed = {"json": {"url": "http://gpu-9:8188", **REASON}}

    def well(_: dict[str, Any]) -> bool:
        return True

    return {
        "register": (("POST", "/register", {"json": form}), well),
        "score": (("GET", "/auth/score", {}), lambda told: told["score"] == 540),
        "setavatar": (("POST", "/auth/setavatar", {"json": {"url": "https://example.org/a.png"}}), well),
        "uploadavatar": (("POST", "/auth/uploadavatar", upload), lambda told: "/avatars/" in told["data"]),
        "like": (("POST", LIKE, {"json": {"url": first}}), lambda told: told["current_likes"] == 1),
        "unlike": (("DELETE", LIKE, {"params": {"url": second}}), lambda told: told["current_likes"] == 0),
        "favorite": (("POST", "/auth/addFavoritedImage", {"json": {"url": first}}), well),
        "unfavorite": (("DELETE", "/auth/deleteFavoritedImage", {"params": {"url": second}}), well),
        "delete": (("POST", "/auth/user/deleteImages", {"json": {"urls": [first]}}), well),
        "restore": (("POST", "/auth/user/restoreImages", {"json": {"urls": [third]}}), well),
        "points": (
            ("POST", "/admin/users/ben/points", {"json": {"change": 7, **REASON}}),
            lambda told: told["score"] == 507,
        ),
        "reset": (("POST", "/admin/users/ben/check-in/reset", {"json": REASON}), well),
        "unban": (("POST", "/admin/users/ben/unban", {"json": REASON}), well),
        "ban": (("POST", "/admin/users/ben/ban", {"json": REASON}), well),
        "painter": (
            ("POST", "/admin/inference-servers", {"json": {"url": "http://gpu-8:8188", **REASON}}),
            lambda told: told["waiting"] == 0,
        ),
        "no-painter": (("POST", "/admin/inference-servers/remove", removed), well),
        "rebuild": (
            ("POST", "/admin/projections/likes/rebuild", {"json": REASON}),
            lambda told: told["projection"]["rebuilding"] is False,
        ),
        "update": (("PUT", "/auth/user/update", {"json": {"email": "new@example.org"}}), well),
        "erase": (("DELETE", "/auth/root/deleteOneUser", {"params": {"isOwn": "true"}}), well),
    }  # fmt: skip


@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "keyed"])
async def test_every_write_is_told_as_the_success_that_it_is(
    house: House, faults: Faults, keyed: bool
) -> None:
    faults.begin()
    for name, (what, says) in writes(house).items():
        reply = await house.send(what, f"key-{name}" if keyed else None)
        assert reply.status_code == 200, (name, reply.text)
        assert says(reply.json()), (name, reply.text)
    assert {
        "Projector.wait_for_position",
        "Sessions.ended",
        "Snapshots.after_append",
        "Statements.read",
    } <= faults.met
    assert {"ServerPool.update", "huajuan.projections.rebuild.process._launch"} <= faults.met


async def test_a_picture_comes_although_nothing_can_be_read_behind_its_request(
    house: House, faults: Faults
) -> None:
    faults.begin()
    reply = await house.send(("POST", "/auth/generate", {"json": ORDER}), "key")
    assert (reply.status_code, reply.json()["score"]) == (200, 420)


async def test_a_job_whose_end_cannot_be_learned_is_told_as_asked_for(
    house: House, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(Completions, "wait", fail)
    faults.begin()
    reply = await house.send(("POST", "/auth/generate", {"json": ORDER}))
    told = reply.json()
    assert (reply.status_code, told["success"], told["status"]) == (202, True, "queued")
    assert reply.headers["location"] == f"/auth/generations/{told['id']}"
    monkeypatch.undo()

    async def is_drawn() -> bool:
        job = await house.send(("GET", reply.headers["location"], {}))
        return bool(job.json().get("status") == "succeeded")

    await until(is_drawn)


async def test_a_job_is_asked_for_and_cancelled(house: House, faults: Faults) -> None:
    house.host.gate.clear()
    faults.begin()
    headers = {**house.ann, "Prefer": "respond-async"}
    asked = await house.client.post("/auth/generate", json=ORDER, headers=headers)
    assert (asked.status_code, asked.json()["status"]) == (202, "queued")
    assert asked.headers["preference-applied"] == "respond-async"
    gone = await house.send(("DELETE", asked.headers["location"], {}))
    assert (gone.status_code, gone.json()["status"], gone.json()["reason"]) == (200, "cancelled", "cancelled")
    house.host.gate.set()
