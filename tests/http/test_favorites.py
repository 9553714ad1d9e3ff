"""Favorites over HTTP: their own ids and times, and no access to another account's."""

from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.http.conftest import ORDER, Person, body

pytestmark = pytest.mark.asyncio(loop_scope="module")
Headers = dict[str, str]
UNNAMED = {"message": "无有效的图像id或url", "error": "id 必须大于 0 或者 url 不得为空"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def images(client: httpx.AsyncClient, person: Person) -> list[dict[str, Any]]:
    maker = await person("maker", checked_in=True)
    for prompt in ("one", "two", "three"):
        await client.post("/auth/generate", json={**ORDER, "prompt": prompt}, headers=maker)
    found: list[dict[str, Any]] = body(await client.get("/auth/user/images", headers=maker))["images"]
    return found


async def favorites(client: httpx.AsyncClient, who: Headers) -> list[dict[str, Any]]:
    reply = body(await client.get("/auth/user/favoritedimages", headers=who))
    assert reply["message"] == "获取用户收藏的图像成功"
    found: list[dict[str, Any]] = reply["images"]
    return found


async def add(client: httpx.AsyncClient, who: Headers, **image: Any) -> httpx.Response:
    return await client.post("/auth/addFavoritedImage", json=image, headers=who)


async def remove(client: httpx.AsyncClient, who: Headers, **favorite: Any) -> httpx.Response:
    return await client.delete("/auth/deleteFavoritedImage", params=favorite, headers=who)


async def test_keeping_and_letting_go(
    client: httpx.AsyncClient, person: Person, images: list[dict[str, Any]]
) -> None:
    ann = await person()
    for given in (
        {"url": images[1]["picture"]},
        {"id": images[0]["id"]},
        {"url": images[2]["picture"], "id": 1},
    ):
        reply = await add(client, ann, **given)
        assert (reply.status_code, body(reply)) == (200, {"message": "收藏图像成功"})
    kept = await favorites(client, ann)
    assert [f["prompt"] for f in kept] == ["two", "one", "three"]
    favorite = kept[0]
    assert favorite["favorited_time"] > favorite["create_time"]
    assert {**favorite, "id": favorite["image_id"]} == {
        **images[1], "image_id": images[1]["id"], "favorited_time": favorite["favorited_time"],
    }  # fmt: skip
    again = await add(client, ann, url=images[1]["picture"])
    assert (again.status_code, body(again)) == (409, {"message": "该图像已经被收藏过"})
    gone = await remove(client, ann, id=favorite["id"])
    assert (gone.status_code, body(gone)) == (200, {"message": "取消图像收藏成功"})
    assert body(await remove(client, ann, url=images[0]["picture"], id=7)) == {"message": "取消图像收藏成功"}
    assert [f["prompt"] for f in await favorites(client, ann)] == ["three"]
    for repeated in ({"id": favorite["id"]}, {"url": images[0]["picture"]}):
        reply = await remove(client, ann, **repeated)
        assert (reply.status_code, body(reply)) == (409, {"message": "该图像未被收藏过"})


async def test_a_favorite_added_again_has_a_new_id(
    client: httpx.AsyncClient, person: Person, images: list[dict[str, Any]]
) -> None:
    ann = await person()
    await add(client, ann, id=images[0]["id"])
    (before,) = await favorites(client, ann)
    await remove(client, ann, id=before["id"])
    await add(client, ann, id=images[0]["id"])
    (after,) = await favorites(client, ann)
    assert after["id"] > before["id"]
    assert (await remove(client, ann, id=before["id"])).status_code == 409


async def test_somebody_elses_favorite_is_none_of_mine(
    client: httpx.AsyncClient, person: Person, images: list[dict[str, Any]]
) -> None:
    ann, ben = await person(), await person()
    await add(client, ann, id=images[0]["id"])
    (favorite,) = await favorites(client, ann)
    reply = await remove(client, ben, id=favorite["id"])
    assert (reply.status_code, body(reply)) == (409, {"message": "该图像未被收藏过"})
    assert len(await favorites(client, ann)) == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"{", b"{}", b'{"id":0}', b'{"id":-1}', b'{"id":"1"}', b'{"url":""}', b'{"url":7}',
        b'{"id":99999999999999999999}',
    ],
)  # fmt: skip
async def test_adding_nothing(client: httpx.AsyncClient, person: Person, sent: bytes) -> None:
    reply = await client.post("/auth/addFavoritedImage", content=sent, headers=await person())
    assert (reply.status_code, body(reply)) == (400, UNNAMED)


@pytest.mark.parametrize("given", [{}, {"id": "0"}, {"id": "x"}, {"id": "-3"}, {"url": ""}])
async def test_removing_nothing(client: httpx.AsyncClient, person: Person, given: dict[str, Any]) -> None:
    reply = await remove(client, await person(), **given)
    assert (reply.status_code, body(reply)) == (400, UNNAMED)


async def test_pictures_that_are_not_there(client: httpx.AsyncClient, person: Person) -> None:
    ann, url = await person(), "http://pictures.example/images/" + "0" * 32 + ".png"
    for given in ({"url": url}, {"id": 999_999}, {"url": "nonsense"}):
        reply = await add(client, ann, **given)
        assert (reply.status_code, body(reply)["message"]) == (404, "未找到对应的图像")
    reply = await remove(client, ann, url=url)
    assert (reply.status_code, body(reply)) == (404, {"message": "未找到对应的图像"})


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/auth/addFavoritedImage"), ("DELETE", "/auth/deleteFavoritedImage")]
)
async def test_without_a_token_they_have_a_text_of_their_own(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    reply = await client.request(method, path)
    assert (reply.status_code, body(reply)) == (
        401,
        {"message": "未找到用户信息", "error": "请求头中缺少Token"},
    )


async def test_favorites_are_paged(
    client: httpx.AsyncClient, person: Person, images: list[dict[str, Any]]
) -> None:
    ann = await person()
    for image in images:
        await add(client, ann, id=image["id"])
    first = await client.get("/auth/user/favoritedimages?limit=2", headers=ann)
    link = first.headers["link"].removeprefix("<http://pictures.example").removesuffix('>; rel="next"')
    second = await client.get(link, headers=ann)
    seen = [f["prompt"] for reply in (first, second) for f in body(reply)["images"]]
    assert (seen, "link" in second.headers) == (["one", "two", "three"], False)
    for bad in ("limit=0", "after=x", "after=WzEsMl0"):
        reply = await client.get(f"/auth/user/favoritedimages?{bad}", headers=ann)
        assert (reply.status_code, body(reply)["error"]) == (400, bad.split("=")[0])
