"""Deleting and restoring images, random images, and the search by words, over HTTP."""

from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.http.conftest import ORDER, Person, body

pytestmark = pytest.mark.asyncio(loop_scope="module")
ADDRESS = "http://pictures.example"
Headers = dict[str, str]
UNNAMED = {"message": "请提供有效的urls或ids列表，并且不要同时提供这两个列表"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def maker(client: httpx.AsyncClient, person: Person) -> Headers:
    maker = await person("maker", checked_in=True)
    for prompt in ("red sun", "山水, 日出", "blue moon"):
        await client.post("/auth/generate", json={**ORDER, "prompt": prompt}, headers=maker)
    return maker


async def images(client: httpx.AsyncClient, who: Headers) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body(await client.get("/auth/user/images", headers=who))["images"]
    return found


async def delete(client: httpx.AsyncClient, who: Headers, **meant: Any) -> httpx.Response:
    return await client.post("/auth/user/deleteImages", json=meant, headers=who)


async def restore(client: httpx.AsyncClient, who: Headers, **meant: Any) -> httpx.Response:
    return await client.post("/auth/user/restoreImages", json=meant, headers=who)


async def test_a_deleted_image_is_nowhere_and_comes_back_as_it_was(
    client: httpx.AsyncClient, person: Person, maker: Headers
) -> None:
    ann, before = await person(), await images(client, maker)
    image = before[0]
    path = image["picture"].removeprefix(ADDRESS)
    await client.post("/auth/like", json={"url": path}, headers=ann)
    await client.post("/auth/addFavoritedImage", json={"url": path}, headers=ann)
    gone = await delete(client, maker, urls=[image["picture"]])
    assert (gone.status_code, body(gone)) == (200, {"message": "成功删除用户指定的图像"})
    assert [i["id"] for i in await images(client, maker)] == [i["id"] for i in before[1:]]
    everywhere = [
        await client.get(path),
        await client.get(f"/auth/image?id={image['id']}", headers=ann),
        await client.post("/auth/like", json={"url": path}, headers=ann),
        await client.post("/auth/addFavoritedImage", json={"url": path}, headers=ann),
    ]
    assert [reply.status_code for reply in everywhere] == [404] * 4
    assert body(await client.get("/auth/user/favoritedimages", headers=ann))["images"] == []
    back = await restore(client, maker, ids=[image["id"]])
    assert (back.status_code, body(back)) == (200, {"message": "恢复图像成功"})
    assert (await images(client, maker))[0] == {**image, "likecount": 1}
    assert (await client.get(path)).status_code == 200
    assert len(body(await client.get("/auth/user/favoritedimages", headers=ann))["images"]) == 1
    await client.delete("/auth/like", params={"url": path}, headers=ann)


async def test_nobody_deletes_anybody_elses(
    client: httpx.AsyncClient, person: Person, maker: Headers
) -> None:
    ben, before = await person(), await images(client, maker)
    for meant in ({"ids": [before[0]["id"]]}, {"urls": [before[0]["picture"]]}):
        for reply in (await delete(client, ben, **meant), await restore(client, ben, **meant)):
            assert (reply.status_code, body(reply)) == (404, {"message": "未找到对应的图像"})
    reply = await delete(client, maker, ids=[before[0]["id"], 999_999])
    assert (reply.status_code, body(reply)) == (404, {"message": "未找到对应的图像"})
    assert await images(client, maker) == before


@pytest.mark.parametrize(
    "sent",
    [
        b"{", b"{}", b'{"ids":[]}', b'{"urls":[]}', b'{"ids":[1],"urls":["a"]}', b'{"ids":1}',
        b'{"ids":["1"]}', b'{"ids":[0]}', b'{"ids":[99999999999999999999]}', b'{"ids":null}', b"[1]",
        b'{"ids":[' + b",".join([b"1"] * 101) + b"]}", b'{"urls":[""]}', b'{"urls":["\\u0000"]}',
    ],
    ids=range(14),
)  # fmt: skip
@pytest.mark.parametrize("path", ["/auth/user/deleteImages", "/auth/user/restoreImages"])
async def test_neither_list_or_both(
    client: httpx.AsyncClient, maker: Headers, path: str, sent: bytes
) -> None:
    reply = await client.post(path, content=sent, headers=maker)
    assert (reply.status_code, body(reply)) == (400, UNNAMED)


FEATURES = {
    "": [], "feature=": [], "feature=,": [], "feature=sun": ["red sun"],
    "feature=SUN moon": ["red sun", "blue moon"], "feature=日出": ["山水, 日出"], "feature=水日": [],
    "feature=red&feature=日": ["red sun", "山水, 日出"],
    "feature=sun，moon、水": ["red sun", "山水, 日出", "blue moon"],
}  # fmt: skip


@pytest.mark.parametrize("query", FEATURES)
async def test_pictures_that_hold_any_of_the_words(
    client: httpx.AsyncClient, maker: Headers, query: str
) -> None:
    reply = await client.get(f"/auth/image/feature?{query}&isOwn=true", headers=maker)
    found = body(reply)
    assert (reply.status_code, found["message"]) == (200, "查询图像成功")
    assert [image["prompt"] for image in found["images"]] == FEATURES[query]


async def test_the_search_is_for_everybodys_unless_told(
    client: httpx.AsyncClient, person: Person, maker: Headers
) -> None:
    ann = await person()
    assert len(body(await client.get("/auth/image/feature?feature=sun", headers=ann))["images"]) == 1
    assert body(await client.get("/auth/image/feature?feature=sun&isOwn=true", headers=ann))["images"] == []


@pytest.mark.parametrize("query", ["feature=a b c d e f g h i j k", "feature=%00"])
async def test_too_many_words_or_none_at_all(client: httpx.AsyncClient, maker: Headers, query: str) -> None:
    reply = await client.get(f"/auth/image/feature?{query}", headers=maker)
    assert (reply.status_code, body(reply)) == (400, {"message": "查询参数无效", "error": "feature"})


async def test_the_square_shows_everything_there_is_and_what_one_likes(
    client: httpx.AsyncClient, person: Person, maker: Headers
) -> None:
    ann, listed = await person(), await images(client, maker)
    await client.post("/auth/like", json={"url": listed[1]["picture"]}, headers=ann)
    for _ in range(5):
        reply = body(await client.get("/auth/imageSquare", headers=ann))
        assert reply["message"] == "获取图像列表成功"
        liked = {image["id"]: image["isliked"] for image in reply["images"]}
        assert liked == {image["id"]: image["id"] == listed[1]["id"] for image in listed}
    await client.delete("/auth/like", params={"url": listed[1]["picture"]}, headers=ann)
