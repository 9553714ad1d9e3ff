"""The route table matches the OpenAPI document, and each route admits the callers that the table names."""

from typing import NamedTuple

import httpx
import pytest
import pytest_asyncio

from huajuan.http import messages
from huajuan.http.app import ROUTES
from huajuan.http.errors import FORBIDDEN, ApiError
from huajuan.http.routes.route import Access, Route, with_account_ids
from tests.http.api_docs import API_MD, rendered
from tests.http.conftest import ORDER, Person, body
from tests.http.document import document
from tests.http.test_admin import make_admin

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Operation(NamedTuple):
    """One method of a route."""

    method: str
    route: Route

    @property
    def name(self) -> str:
        return f"{self.method} {self.route.path}"


DOCUMENT = document()
OPERATIONS = [
    Operation(method, route) for route in with_account_ids(ROUTES) for method in route.methods.split()
]
NEEDS_TOKEN = [each for each in OPERATIONS if each.route.access is not Access.PUBLIC]
NEEDS_ADMIN = [each for each in OPERATIONS if each.route.access is Access.ADMIN]
OF_USERS = [each for each in OPERATIONS if each.route.access is Access.USER]
PUBLIC = [each for each in OPERATIONS if each.route.access is Access.PUBLIC]
# Resources of one account, which look unknown to another.
OF_ONE_USER = [each for each in OF_USERS if "{" in each.route.path]


def each_of(operations: list[Operation]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("operation", operations, ids=lambda operation: operation.name)


class Callers(NamedTuple):
    """The headers of a user and of an admin, and a job of the user."""

    user: dict[str, str]
    admin: dict[str, str]
    job: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def callers(client: httpx.AsyncClient, person: Person, module_database_url: str) -> Callers:
    user, admin = await person("user", checked_in=True), await person("admin")
    await make_admin(module_database_url, "admin")
    drawn = await client.post("/auth/generate", json=ORDER, headers=user)
    return Callers(user, admin, drawn.json()["generation_id"])


async def call(
    client: httpx.AsyncClient, operation: Operation, headers: dict[str, str], job: int = 1
) -> httpx.Response:
    path = operation.route.path.format(
        key=f"{'0' * 32}.png", generation=job, name="users", username="user", id=1
    )
    return await client.request(operation.method, path, headers=headers)


def is_error(reply: httpx.Response, error: ApiError) -> bool:
    return reply.status_code == error.status and body(reply) == error.body


async def test_the_document_has_the_operations_of_the_table() -> None:
    documented = {(m.upper(), path) for path, item in DOCUMENT["paths"].items() for m in item}
    assert documented == {(each.method, each.route.path) for each in OPERATIONS}
    assert len(OPERATIONS) == len(documented)


@each_of(OPERATIONS)
async def test_the_document_says_who_may_call(operation: Operation) -> None:
    documented = DOCUMENT["paths"][operation.route.path][operation.method.lower()]
    assert ("security" in documented) == (operation.route.access is not Access.PUBLIC)
    assert ("403" in documented["responses"]) >= (operation.route.access is Access.ADMIN)
    assert operation.route.path.startswith("/admin/") == (operation.route.access is Access.ADMIN)


async def test_the_page_of_the_api_is_up_to_date() -> None:
    assert API_MD.read_text("utf-8") == rendered(), "write it anew: python -m tests.http.api_docs"


@each_of(PUBLIC)
async def test_nobody_needs_a_token_for_a_public_route(
    client: httpx.AsyncClient, operation: Operation
) -> None:
    reply = await call(client, operation, {})
    assert reply.status_code not in {401, 403, 405}


@each_of(NEEDS_TOKEN)
async def test_a_request_without_a_good_token_is_refused(
    client: httpx.AsyncClient, operation: Operation
) -> None:
    error_of = operation.route.handler.spec.token_error
    assert is_error(await call(client, operation, {}), error_of(messages.TOKEN_MISSING))
    forged = await call(client, operation, {"Authorization": "garbage"})
    assert is_error(forged, error_of(messages.TOKEN_INVALID))


@each_of(NEEDS_ADMIN)
async def test_a_user_is_no_admin(client: httpx.AsyncClient, callers: Callers, operation: Operation) -> None:
    assert is_error(await call(client, operation, callers.user), FORBIDDEN)


@each_of(OPERATIONS)
async def test_an_admin_may_call_every_route(
    client: httpx.AsyncClient, callers: Callers, person: Person, operation: Operation
) -> None:
    headers = callers.admin if operation.route.path != "/auth/logout" else await person()
    reply = await call(client, operation, headers)
    assert reply.status_code not in {403, 405, 500, 503}
    if operation.route.path != "/auth/generate":  # 401: there are no points
        assert reply.status_code != 401


@each_of(OF_USERS)
async def test_a_user_may_call_the_routes_of_users(
    client: httpx.AsyncClient, callers: Callers, person: Person, operation: Operation
) -> None:
    is_own = operation in OF_ONE_USER
    reply = await call(client, operation, callers.user if is_own else await person(), callers.job)
    assert reply.status_code not in {403, 404, 405}
    assert reply.status_code != 401 or operation.route.path == "/auth/generate"


@each_of(OF_ONE_USER)
async def test_another_user_does_not_see_it(
    client: httpx.AsyncClient, callers: Callers, person: Person, operation: Operation
) -> None:
    reply = await call(client, operation, await person(), callers.job)
    assert (reply.status_code, body(reply)) == (404, {"message": messages.NO_SUCH_IMAGE})
