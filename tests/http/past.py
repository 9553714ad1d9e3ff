"""The life of an account, with the live responses after each step."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg

from huajuan.inference_client import DrawingFailed
from tests.http.conftest import ORDER, Person, body
from tests.jobs.fake_server import FakeInferenceServer

Headers = dict[str, str]
Act = Callable[[], Awaitable[httpx.Response]]


@dataclass(frozen=True)
class Known:
    """The live responses about the account when the log ended at `position`."""

    position: int
    time: datetime
    user: dict[str, Any]
    held: int
    images: list[dict[str, Any]]


class Life:
    """One account among others; `known` has the live responses after each request."""

    def __init__(
        self, client: httpx.AsyncClient, dsn: str, person: Person, host: FakeInferenceServer
    ) -> None:
        self._client, self._dsn, self._person, self._host = client, dsn, person, host
        self.name = "pierre"
        self.known: list[Known] = []
        self.me: Headers = {}

    async def live(self, ada: Headers) -> None:
        self.me, ben = await self._person(self.name), await self._person("benoit")
        await self._remember()
        await self._earn_and_draw()
        await self._rename_things()
        pictures = [image["picture"] for image in self.known[-1].images]
        for who in (self.me, ben):
            await self._act("POST", "/auth/like", who, {"url": pictures[0]})
        await self._act("DELETE", f"/auth/like?url={pictures[0]}", self.me)
        await self._act("POST", "/auth/like", self.me, {"url": pictures[0]})
        await self._act("POST", "/auth/addFavoritedImage", self.me, {"url": pictures[0]})
        await self._delete_and_restore([image["id"] for image in self.known[-1].images])
        for change, reason in ((50, "sorry"), (-30, "a mistake")):
            form = {"change": change, "reason": reason}
            await self._act("POST", f"/admin/users/{self.name}/points", ada, form)
        await self._act("DELETE", f"/auth/like?url={pictures[0]}", ben)
        await self._act("DELETE", f"/auth/deleteFavoritedImage?url={pictures[0]}", self.me)

    async def _earn_and_draw(self) -> None:
        await self._act("GET", "/auth/score", self.me)
        await self._act("POST", "/auth/generate", self.me, ORDER)
        self._host.failures.append(DrawingFailed("out of memory", "a trace"))
        await self._act("POST", "/auth/generate", self.me, ORDER, status=500)
        await self._act("POST", "/auth/generate", self.me, ORDER | {"prompt": "月 {moon}", "seed": "π"})

    async def _rename_things(self) -> None:
        for form in (
            {"avatar_url": "http://example.org/a.png"},
            {"email": "pierre@example.com"},
            {"avatar_url": ""},
            {"email": "pierre@example.org"},
        ):
            await self._act("PUT", "/auth/user/update", self.me, form)

    async def _delete_and_restore(self, ids: list[int]) -> None:
        await self._act("POST", "/auth/user/deleteImages", self.me, {"ids": ids})
        await self._act("POST", "/auth/user/restoreImages", self.me, {"ids": ids[:1]})

    async def _act(
        self, method: str, path: str, who: Headers, form: dict[str, Any] | None = None, status: int = 200
    ) -> None:
        reply = await self._client.request(method, path, headers=who, json=form)
        assert reply.status_code == status, reply.text
        await self._remember()

    async def _remember(self) -> None:
        images = body(await self._client.get("/auth/user/images", headers=self.me))["images"]
        user = body(await self._client.get("/auth/user/info", headers=self.me))["user"]
        points = body(await self._client.get("/auth/points", headers=self.me))
        self.known.append(
            Known(head(self._dsn), datetime.now(UTC), user, points["held"], images),
        )


def head(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT max(notification_id) FROM log.huajuan_events").fetchone()
    return int(row[0]) if row else 0
