"""A whole session over HTTP: register, log in, check in, generate, fetch, account and images."""

import asyncio
import io
import re
from typing import Any

import httpx
import pytest
from PIL import Image

from huajuan.inference_client import DrawingFailed
from tests.http.conftest import ORDER, Person, body
from tests.jobs.fake_server import FakeInferenceServer

pytestmark = pytest.mark.asyncio(loop_scope="module")
ADDRESS = "http://pictures.example"


async def generate(client: httpx.AsyncClient, headers: dict[str, str], **changes: Any) -> dict[str, Any]:
    reply = await client.post("/auth/generate", json=ORDER | changes, headers=headers)
    assert reply.status_code == 200, reply.text
    return body(reply)


async def info(client: httpx.AsyncClient, headers: dict[str, str]) -> dict[str, Any]:
    user: dict[str, Any] = body(await client.get("/auth/user/info", headers=headers))["user"]
    return user


async def images(client: httpx.AsyncClient, headers: dict[str, str]) -> list[dict[str, Any]]:
    reply = body(await client.get("/auth/user/images", headers=headers))
    assert reply["message"] == "获取用户的图像成功"
    found: list[dict[str, Any]] = reply["images"]
    return found


async def test_from_registering_to_the_picture(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person("ann", checked_in=True)
    made = await generate(client, ann)
    assert re.fullmatch(ADDRESS + r"/images/[0-9a-f]{32}\.png", made["image_url"])
    assert {k: made[k] for k in ("success", "message", "msg", "score")} == {
        "success": True, "message": "用户当前积分为80", "msg": "用户当前积分为80", "score": 80,
    }  # fmt: skip
    picture = await client.get(made["image_url"].removeprefix(ADDRESS))
    assert Image.open(io.BytesIO(picture.content)).size == (220, 200)
    user = await info(client, ann)
    assert list(user) == ["id", "email", "username", "avatar_url", "score", "create_time"]
    assert (user["username"], user["email"], user["avatar_url"], user["score"]) == (
        "ann", "ann@example.org", "", 80,
    )  # fmt: skip
    (image,) = await images(client, ann)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", image.pop("create_time"))
    assert image == {
        "id": made["id"], "username": "ann", "likecount": 0, "picture": made["image_url"],
        "params": "Prompt: sun, Width: 220, Height: 200, Steps: 30, SamplingMethod: DDIM",
        "prompt": "sun", "width": 220, "height": 200, "steps": 30, "sampling_method": "DDIM", "seed": "7",
        "generation_id": made["generation_id"],
    }  # fmt: skip


async def test_a_person_without_images_has_an_empty_list(client: httpx.AsyncClient, person: Person) -> None:
    assert await images(client, await person()) == []


async def test_images_are_listed_oldest_first_and_only_ones_own(
    client: httpx.AsyncClient, person: Person
) -> None:
    ann, ben = await person(checked_in=True), await person(checked_in=True)
    for prompt in ("one", "two", "three"):
        await generate(client, ann, prompt=prompt)
    await generate(client, ben, prompt="bens")
    listed = await images(client, ann)
    assert [image["prompt"] for image in listed] == ["one", "two", "three"]
    assert [image["id"] for image in listed] == sorted(image["id"] for image in listed)


@pytest.mark.parametrize(
    ("seed", "shown"), [("7", "7"), (7, "7"), (-3, "-3"), ("种子", "种子"), (2**64, str(2**64))]
)
async def test_any_seed_goes_and_is_shown_as_it_was_given(
    client: httpx.AsyncClient, person: Person, seed: str | int, shown: str
) -> None:
    ann = await person(checked_in=True)
    await generate(client, ann, seed=seed)
    assert (await images(client, ann))[0]["seed"] == shown


@pytest.mark.parametrize("size", [(128, 1024), (1024, 128), (129, 131)])
async def test_the_picture_has_exactly_the_size_asked_for(
    client: httpx.AsyncClient, person: Person, size: tuple[int, int]
) -> None:
    made = await generate(client, await person(checked_in=True), width=size[0], height=size[1])
    picture = await client.get(made["image_url"].removeprefix(ADDRESS))
    assert Image.open(io.BytesIO(picture.content)).size == size


async def test_a_picture_that_does_not_come_gives_the_points_back(
    client: httpx.AsyncClient, person: Person, host: FakeInferenceServer
) -> None:
    ann = await person(checked_in=True)
    host.failures = [DrawingFailed("out of memory", "Traceback: /srv/comfyui/secret.py")]
    reply = await client.post("/auth/generate", json=ORDER, headers=ann)
    assert (reply.status_code, body(reply)) == (500, {"success": False, "message": "图片生成失败"})
    assert ((await info(client, ann))["score"], await images(client, ann)) == (100, [])


async def test_20_at_once_on_100_points_make_exactly_5(client: httpx.AsyncClient, person: Person) -> None:
    ann = await person(checked_in=True)
    asked = [client.post("/auth/generate", json=ORDER, headers=ann) for _ in range(20)]
    statuses = [reply.status_code for reply in await asyncio.gather(*asked)]
    assert (statuses.count(200), statuses.count(401)) == (5, 15)
    assert ((await info(client, ann))["score"], len(await images(client, ann))) == (0, 5)


async def test_what_a_write_promises_the_next_read_shows(client: httpx.AsyncClient, person: Person) -> None:
    for _ in range(10):
        ann = await person()
        assert (await info(client, ann))["score"] == 0
        await client.post("/auth/score", headers=ann)
        assert (await info(client, ann))["score"] == 100
        made = await generate(client, ann)
        assert [image["id"] for image in await images(client, ann)] == [made["id"]]


async def test_the_facts_carry_the_requests_id(
    client: httpx.AsyncClient, person: Person, module_database_url: str
) -> None:
    import psycopg

    ann = await person()
    await client.post("/auth/score", headers=ann | {"X-Request-Id": "visit-1"})
    with psycopg.connect(module_database_url) as connection:
        query = (
            "SELECT topic FROM log.huajuan_events "
            "WHERE convert_from(state, 'UTF8')::json->>'correlation_id' = 'visit-1'"
        )
        assert connection.execute(query).fetchall() == [("account.checked_in",)]
