"""URLs of our own pictures in any spelling, at each present and former public address."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from huajuan.commands.accounts import set_avatar
from huajuan.commands.moderation import grant_admin
from huajuan.http.urls import current_url, own_path
from huajuan.net.urls import base_of
from tests.commands.people import a_person
from tests.http.conftest import ORDER, body
from tests.services import client_of, services_on
from tests.storage.test_avatars import picture

KEY = "5f0c6a1e9d6b4d0f8a3c2b1e7d9f4a60.png"
PATH = f"/images/{KEY}"
NOW = "https://Pictures.Example/gallery/"
BASES = (
    NOW,
    "http://old.example:8080",
    "http://画廊.example",
    "http://[::1]:8080",
    "http://x.example/a%20b",
)


@pytest.mark.parametrize(
    "address",
    [
        f"https://pictures.example/gallery{PATH}", f"HTTPS://PICTURES.EXAMPLE:443/gallery{PATH}",
        f"https://pictures.example./gallery{PATH}", f"https://pictures.example/gallery{PATH}?v=2",
        f"https://pictures.example/gallery{PATH}#top", f"https://pictures.example/gallery{PATH}/",
        f"https://pictures.example/%67allery/im%61ges/{KEY}",
        f"https://pictures.example/gallery/images/%35{KEY[1:]}", f"http://old.example:8080{PATH}",
        f"http://画廊.example{PATH}",
        f"http://xn--mnqy66a.example:80{PATH}".replace("xn--mnqy66a", "画廊".encode("idna").decode()),
        f"http://[::1]:8080{PATH}", f"http://x.example/a%20b{PATH}", PATH, f"/gallery{PATH}", f"{PATH}?v=2",
    ],
)  # fmt: skip
def test_ours_is_recognised(address: str) -> None:
    assert own_path(address, BASES) == PATH
    assert current_url(address, BASES) == NOW + PATH


@pytest.mark.parametrize(
    "address",
    [
        "", "x", KEY, f"images/{KEY}", f"//pictures.example/gallery{PATH}",
        f"http://pictures.example/gallery{PATH}", f"https://pictures.example{PATH}",
        f"https://pictures.example:8443/gallery{PATH}", f"ftp://old.example:8080{PATH}",
        f"http://old.example{PATH}", f"http://old.example:8080.evil.example{PATH}",
        f"http://me@old.example:8080{PATH}", f"http://evil.example{PATH}",
        f"http://old.example:8080/images/../avatars/{KEY}", f"http://old.example:x{PATH}",
        f"http://old.example:8080/images/{KEY}x", f"http://old.example:8080/images/{KEY.upper()}",
        f"http://[::1{PATH}", f"http://old.example:8080/other/{KEY}", f"http://old.example:8080{PATH}\n",
        f"{PATH}\n", f"/images/{KEY}%00", f" {PATH}", "http://" + "ö" * 70 + f".example{PATH}",
        f"http://old.example:8080/images%2f{KEY}%2f..",
    ],
)  # fmt: skip
def test_any_other_address_is_not_ours(address: str) -> None:
    assert own_path(address, BASES) is None
    assert current_url(address, BASES) == address


@pytest.mark.parametrize(
    "address",
    ["http://localhost:8080", "https://h.example/", "HTTP://H", "http://[::1]:80/a/b", "http://画.example"],
)
def test_a_base_names_a_host(address: str) -> None:
    assert base_of(address)


@pytest.mark.parametrize(
    "address",
    [
        "", "h.example", "http://", "http:///path", "ftp://h", "http://h/?", "http://h/#", "http://h?x=1",
        "http://u:p@h", "http://h:99999", "http://h:x", "http://a b", "http://h\n", "http://[::1",
        "javascript://h",
    ],
)  # fmt: skip
def test_what_names_no_host_is_no_base(address: str) -> None:
    assert not base_of(address)


async def test_addresses_of_before_go_on_and_are_told_as_they_are_now(
    database_url: str, tmp_path: Path
) -> None:
    kept = {"storage_url": str(tmp_path)}
    old, new = "http://old.example/gallery", "https://new.example:8443/a/b"
    form = {"username": "ann", "email": "ann@example.org", "password": "secret"}
    async with client_of(database_url, public_url=old, **kept) as client:
        await client.post("/register", json=form)
        me = {"Authorization": (await client.post("/login", json=form)).json()["token"]}
        await client.get("/auth/score", headers=me)
        drawn = (await client.post("/auth/generate", json=ORDER, headers=me)).json()["image_url"]
        upload = {"file": ("me.png", picture(), "image/png")}
        uploaded = body(await client.post("/auth/uploadavatar", files=upload, headers=me))["data"]
        assert uploaded.startswith(f"{old}/avatars/")
    path = uploaded.removeprefix(old)
    async with client_of(database_url, public_url=new, public_url_aliases=(old,), **kept) as client:
        assert await told(client, me, form) == {new + path}
        for url in (drawn, drawn.replace(old, new), drawn.removeprefix(old)):
            await is_known(client, me, url, drawn.replace(old, new))
            assert await told(client, me, form) == {drawn.replace(old, new)}
        reply = await client.put("/auth/user/update", json={"avatar_url": uploaded}, headers=me)
        assert reply.status_code == 200
        assert await told(client, me, form) == {new + path}
    async with client_of(database_url, public_url="http://third.example", **kept) as client:
        assert await told(client, me, form) == {"http://third.example" + path}
        lost = await client.get("/auth/image", params={"url": drawn}, headers=me)
        assert lost.status_code == 404


async def is_known(client: httpx.AsyncClient, me: dict[str, str], url: str, now: str) -> None:
    """Each route that takes the URL of a picture accepts this one."""
    by_url, named = {"params": {"url": url}, "headers": me}, {"json": {"url": url}, "headers": me}
    several = {"json": {"urls": [url]}, "headers": me}
    found = await client.get("/auth/image", **by_url)  # type: ignore[arg-type]
    assert body(found)["image"]["picture"] == now
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/auth/like", named),
        ("DELETE", "/auth/like", by_url),
        ("POST", "/auth/addFavoritedImage", named),
        ("DELETE", "/auth/deleteFavoritedImage", by_url),
        ("POST", "/auth/user/deleteImages", several),
        ("POST", "/auth/user/restoreImages", several),
    ]
    for method, path, sent in asked:
        assert (await client.request(method, path, **sent)).status_code == 200, path
    reply = await client.post("/auth/setavatar", json={"url": url}, headers=me)
    assert (reply.status_code, body(reply)["data"]) == (200, now)


async def told(client: httpx.AsyncClient, me: dict[str, str], form: dict[str, str]) -> set[str]:
    """The avatar's URL in each response that contains it."""
    return {
        body(await client.get("/auth/getavatar", headers=me))["data"],
        body(await client.get("/auth/user/info", headers=me))["user"]["avatar_url"],
        body(await client.get("/user/all"))["users"][0]["avatar_url"],
        body(await client.post("/login", json=form))["avatar"],
    }


async def test_an_avatar_that_was_stored_by_its_whole_address_is_told_as_it_is_now(
    database_url: str, tmp_path: Path
) -> None:
    """An event of an older version has the whole URL; profiles and the timeline show the present one."""
    old = "http://old.example"
    async with services_on(database_url) as services:
        ann, ada = await a_person(services, "ann"), await a_person(services, "ada")
        await grant_admin(services.store, ada, "runs the service")
        await set_avatar(services.store, ann, f"{old}/avatars/{KEY}")
    async with client_of(database_url, public_url="http://new.example", public_url_aliases=(old,)) as client:
        form = {"username": "ada", "password": "secret"}
        admin = {"Authorization": (await client.post("/login", json=form)).json()["token"]}
        form = {"username": "ann", "password": "secret"}
        me = {"Authorization": (await client.post("/login", json=form)).json()["token"]}
        assert await told(client, me, form) == {f"http://new.example/avatars/{KEY}"}
        past = body(await client.get("/admin/users/ann/profile", headers=admin))["profile"]
        assert past["avatar_url"] == f"http://new.example/avatars/{KEY}"
        lines = body(await client.get("/admin/users/ann/timeline", headers=admin))["timeline"]
        assert f"http://new.example/avatars/{KEY}" in lines[0]["en"]
        assert old not in str(lines)
