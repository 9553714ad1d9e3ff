"""Lists, likes, favorites and profiles over HTTP, as a front end uses them."""

from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.http.conftest import ORDER, Person, body

pytestmark = pytest.mark.asyncio(loop_scope="module")
ADDRESS = "http://pictures.example"
Headers = dict[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def maker(client: httpx.AsyncClient, person: Person) -> Headers:
    """Has five pictures of different sizes, methods and words."""
    maker = await person("maker", checked_in=True)
    for n, (prompt, method) in enumerate(
        [
            ("Sunrise 日出 over the sea", "DDIM"),
            ("moon 月", "PLMS"),
            ("SUN", "K-LMS"),
            ("ｓｕｎ 100%_", "DDIM"),
            ("山水画", "DDIM"),
        ]
    ):
        order = {**ORDER, "prompt": prompt, "sampling_method": method, "width": 128 + n % 2, "steps": 5 - n}
        assert (await client.post("/auth/generate", json=order, headers=maker)).status_code == 200
    return maker


async def prompts(client: httpx.AsyncClient, query: str, headers: Headers | None = None) -> list[str]:
    path = "/auth/user/images" if headers else "/image/all"
    reply = await client.get(f"{path}?{query}", headers=headers or {})
    assert reply.status_code == 200, reply.text
    return [image["prompt"][:3] for image in body(reply)["images"]]


LISTS = {
    "": ["Sun", "moo", "SUN", "ｓｕｎ", "山水画"],
    "order=desc": ["山水画", "ｓｕｎ", "SUN", "moo", "Sun"],
    "sort=steps": ["山水画", "ｓｕｎ", "SUN", "moo", "Sun"],
    "sort=width": ["Sun", "SUN", "山水画", "moo", "ｓｕｎ"],
    "sort=width&order=desc": ["ｓｕｎ", "moo", "山水画", "SUN", "Sun"],
    "sort=sampling_method": ["Sun", "ｓｕｎ", "山水画", "SUN", "moo"],
    "sort=user&limit=2": ["Sun", "moo"],
    "sort=likes": ["Sun", "moo", "SUN", "ｓｕｎ", "山水画"],
    "prompt=sun": ["Sun", "SUN", "ｓｕｎ"],
    "prompt=%EF%BC%B3%EF%BC%B5%EF%BC%AE": ["Sun", "SUN", "ｓｕｎ"],
    "prompt=出": ["Sun"],
    "prompt=水": ["山水画"],
    "prompt=水画": ["山水画"],
    "prompt=画水": [],
    "prompt=%25_": ["ｓｕｎ"],
    "prompt=a%25": [],
    "width=129": ["moo", "ｓｕｎ"],
    "steps=5": ["Sun"],
    "sampling_method=PLMS": ["moo"],
    "sampling_method=DDIM&width=128": ["Sun", "山水画"],
    "username=": ["Sun", "moo", "SUN", "ｓｕｎ", "山水画"],
    "username=nobody": [],
    "start_time=2000-01-01&end_time=2000-01-02": [],
    "start_time=2000-01-01&end_time=9999-12-31": ["Sun", "moo", "SUN", "ｓｕｎ", "山水画"],
    "start_time=2000-01-01T00:00:00Z": ["Sun", "moo", "SUN", "ｓｕｎ", "山水画"],
    "unknown=1": ["Sun", "moo", "SUN", "ｓｕｎ", "山水画"],
}


@pytest.mark.parametrize("query", LISTS)
async def test_lists_are_sorted_filtered_and_searched(
    client: httpx.AsyncClient, maker: Headers, query: str
) -> None:
    assert await prompts(client, query, maker) == [prompt[:3] for prompt in LISTS[query]]
    of_maker = (
        query
        if "username" in query and "username=&" not in query + "&"
        else f"{query}&username=maker".lstrip("&")
    )
    if query != "username=":
        assert await prompts(client, of_maker) == [prompt[:3] for prompt in LISTS[query]]


BAD = {
    "sort=size": "sort", "order=up": "order", "width=x": "width", "height=1.5": "height", "steps=-1": "steps",
    "limit=0": "limit", "limit=1001": "limit", "limit=x": "limit", "after=x": "after",
    "after=bnVsbA": "after", "start_time=yesterday": "start_time", "end_time=2024-13-01": "end_time",
    "width=1&width=2": "width", "prompt=%00": "prompt", "width=99999999999999999999": "width",
    "steps=%D9%A3": "steps", "start_time=0001-01-01T00:00:00%2B23:00": "start_time",
}  # fmt: skip


@pytest.mark.parametrize("query", BAD)
@pytest.mark.parametrize("path", ["/image/all", "/auth/user/images"])
async def test_a_bad_parameter_is_named(
    client: httpx.AsyncClient, maker: Headers, path: str, query: str
) -> None:
    reply = await client.get(f"{path}?{query}", headers=maker)
    assert (reply.status_code, body(reply)) == (400, {"message": "查询参数无效", "error": BAD[query]})


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("sort", ["time", "likes", "user", "width", "height", "steps", "sampling_method"])
async def test_pages_together_are_the_list(
    client: httpx.AsyncClient, maker: Headers, sort: str, order: str
) -> None:
    query = f"sort={sort}&order={order}"
    paged: list[str] = []
    url = f"/auth/user/images?{query}&limit=2"
    while url:
        reply = await client.get(url, headers=maker)
        page = [image["prompt"][:3] for image in body(reply)["images"]]
        assert 1 <= len(page) <= 2
        paged += page
        link = reply.headers.get("link", "")
        assert not link or link.startswith(f"<{ADDRESS}/auth/user/images?")
        url = link.removeprefix(f"<{ADDRESS}").removesuffix('>; rel="next"')
    assert paged == await prompts(client, query, maker)
    assert len(paged) == 5


async def test_a_cursor_of_another_order_is_refused(client: httpx.AsyncClient, maker: Headers) -> None:
    reply = await client.get("/auth/user/images?sort=width&limit=1", headers=maker)
    after = reply.headers["link"].split("after=")[1].split(">")[0]
    for other in ("sort=time", "sort=width&order=desc", "sort=user"):
        refused = await client.get(f"/auth/user/images?{other}&after={after}", headers=maker)
        assert (refused.status_code, body(refused)["error"]) == (400, "after")


RANGES = {
    "": ("无效的开始时间格式", "缺少时间"),
    "start_time=x&end_time=x": ("无效的开始时间格式", "应为 YYYY-MM-DD 或 YYYY-MM-DDTHH:MM:SS[.ffffff]Z"),
    "start_time=2024-01-01": ("无效的结束时间格式", "缺少时间"),
    "start_time=2024-01-01&end_time=2024-02-30": (
        "无效的结束时间格式", "应为 YYYY-MM-DD 或 YYYY-MM-DDTHH:MM:SS[.ffffff]Z",
    ),
}  # fmt: skip


@pytest.mark.parametrize("query", RANGES)
async def test_a_bad_range_is_named_start_first(
    client: httpx.AsyncClient, maker: Headers, query: str
) -> None:
    reply = await client.get(f"/auth/user/images/timeRange?{query}", headers=maker)
    message, error = RANGES[query]
    assert (reply.status_code, body(reply)) == (400, {"message": message, "error": error})


async def test_a_range_includes_both_ends(client: httpx.AsyncClient, maker: Headers) -> None:
    times = [i["create_time"] for i in body(await client.get("/auth/user/images", headers=maker))["images"]]

    async def between(start: str, end: str) -> int:
        query = {"start_time": start, "end_time": end}
        reply = await client.get("/auth/user/images/timeRange", params=query, headers=maker)
        assert body(reply)["message"] == "查询图像列表成功"
        return len(reply.json()["images"])

    assert await between(times[1], times[3]) == 3
    assert await between(times[3], times[1]) == 0
    assert await between(times[0][:10], times[4][:10]) == 5


async def test_one_image_by_address_maker_or_id(client: httpx.AsyncClient, maker: Headers) -> None:
    images = body(await client.get("/auth/user/images", headers=maker))["images"]
    wanted = images[2]
    path = wanted["picture"].removeprefix(ADDRESS)
    asked: list[dict[str, Any]] = [
        {"url": wanted["picture"], "username": "x"}, {"url": path}, {"id": wanted["id"]},
        {"url": "", "id": wanted["id"]},
    ]  # fmt: skip
    for query in asked:
        reply = await client.get("/auth/image", params=query, headers=maker)
        assert body(reply) == {"message": "查询图像成功", "image": wanted}
    first = await client.get("/auth/image", params={"username": "maker", "id": wanted["id"]}, headers=maker)
    assert body(first)["image"] == images[0]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("url=http://elsewhere/images/a.png", 404), ("url=/images/" + "0" * 32 + ".png", 404),
        ("username=nobody", 404), ("id=999999", 404), ("id=0", 400), ("id=-1", 400), ("id=x", 400), ("", 400),
        ("id=99999999999999999999", 400),
    ],
)  # fmt: skip
async def test_no_such_image(client: httpx.AsyncClient, maker: Headers, query: str, status: int) -> None:
    reply = await client.get(f"/auth/image?{query}", headers=maker)
    assert reply.status_code == status
    assert body(reply)["message"] == {404: "未找到相关图片", 400: "无效的图像id或用户名"}[status]


async def a_picture(client: httpx.AsyncClient, maker: Headers) -> dict[str, Any]:
    image: dict[str, Any] = body(await client.get("/auth/user/images", headers=maker))["images"][-1]
    return image


async def test_liking_and_taking_it_back(client: httpx.AsyncClient, person: Person, maker: Headers) -> None:
    ann, ben, image = await person(), await person(), await a_picture(client, maker)
    first = await client.post("/auth/like", json={"url": image["picture"]}, headers=ann)
    assert (first.status_code, body(first)) == (
        200,
        {"message": "Image liked successfully", "current_likes": 1},
    )
    again = await client.post("/auth/like", json={"url": image["picture"]}, headers=ann)
    assert (again.status_code, body(again)) == (409, {"error": "用户已经点赞过该图片"})
    second = await client.post(
        "/auth/like", json={"url": image["picture"].removeprefix(ADDRESS)}, headers=ben
    )
    assert body(second)["current_likes"] == 2
    assert (await a_picture(client, maker))["likecount"] == 2
    back = await client.delete("/auth/like", params={"url": image["picture"]}, headers=ann)
    assert (back.status_code, body(back)) == (
        200,
        {"message": "Image unliked successfully", "current_likes": 1},
    )
    no_more = await client.delete("/auth/like", params={"url": image["picture"]}, headers=ann)
    assert (no_more.status_code, body(no_more)) == (409, {"error": "用户未点赞过该图片"})
    await client.delete("/auth/like", params={"url": image["picture"]}, headers=ben)


@pytest.mark.parametrize("sent", [b"{", b"{}", b'{"url":""}', b'{"url":null}', b'{"url":1}', b"[]"])
async def test_a_like_without_an_address(client: httpx.AsyncClient, person: Person, sent: bytes) -> None:
    reply = await client.post("/auth/like", content=sent, headers=await person())
    assert (reply.status_code, body(reply)) == (400, {"error": "Missing image URL"})


async def test_a_like_of_nothing(client: httpx.AsyncClient, person: Person) -> None:
    ann, url = await person(), ADDRESS + "/images/" + "0" * 32 + ".png"
    for reply in (
        await client.post("/auth/like", json={"url": url}, headers=ann),
        await client.delete("/auth/like", params={"url": url}, headers=ann),
    ):
        assert (reply.status_code, body(reply)) == (404, {"error": "未找到相关图片"})
    missing = await client.delete("/auth/like", headers=ann)
    assert (missing.status_code, body(missing)) == (400, {"error": "Missing image URL"})
