"""A repeated parameter or one with NUL gets the error of the route."""

import httpx
import pytest

from tests.http.conftest import Person, body

pytestmark = pytest.mark.asyncio(loop_scope="module")
UNFIT_IMAGE = {"message": "无效的图像id或用户名", "error": "需要 url、username 或大于 0 的 id"}
UNFIT_FAVORITE = {"message": "无有效的图像id或url", "error": "id 必须大于 0 或者 url 不得为空"}
UNFIT_TIME = "应为 YYYY-MM-DD 或 YYYY-MM-DDTHH:MM:SS[.ffffff]Z"
TIMES = "start_time=2024-01-01&end_time=2024-01-02"
REFUSALS = [
    ("DELETE", "/auth/like?url=a&url=b", {"error": "Missing image URL"}),
    ("DELETE", "/auth/like?url=%00", {"error": "Missing image URL"}),
    ("DELETE", "/auth/deleteFavoritedImage?id=1&id=2", UNFIT_FAVORITE),
    ("DELETE", "/auth/deleteFavoritedImage?url=%00", UNFIT_FAVORITE),
    ("GET", "/auth/image?username=a&username=b", UNFIT_IMAGE),
    ("GET", "/auth/image?url=%00", UNFIT_IMAGE),
    ("GET", f"/auth/user/images/timeRange?{TIMES}&start_time=2024-01-01",
     {"message": "无效的开始时间格式", "error": UNFIT_TIME}),
    ("GET", f"/auth/user/images/timeRange?{TIMES}&end_time=%00",
     {"message": "无效的结束时间格式", "error": UNFIT_TIME}),
    ("GET", f"/auth/user/images/timeRange?{TIMES}&limit=1&limit=2",
     {"message": "查询参数无效", "error": "limit"}),
    ("GET", "/auth/user/images?sort=time&sort=user", {"message": "查询参数无效", "error": "sort"}),
    ("GET", "/image/all?sampling_method=ddim", {"message": "查询参数无效", "error": "sampling_method"}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "refusal"), REFUSALS, ids=[path for _, path, _ in REFUSALS])
async def test_an_unfit_query_is_refused_in_the_routes_own_words(
    client: httpx.AsyncClient, person: Person, method: str, path: str, refusal: dict[str, str]
) -> None:
    reply = await client.request(method, path, headers=await person())
    assert (reply.status_code, body(reply)) == (400, refusal)
