"""Valid and invalid requests, generated from the OpenAPI document: each response conforms to the document.

`HUAJUAN_FUZZ_CASES` is the number of cases of each kind and operation, 20 by default. They do not vary.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode, Response
from schemathesis.specs.openapi import checks

from huajuan.auth.rate_limits import LoginAttemptLimits
from huajuan.http import messages
from huajuan.projections.rebuild.process import RebuildProcesses
from huajuan.projections.registry import PROJECTIONS
from tests.http.conftest import ORDER
from tests.http.document import Documented, Json, closed, operations
from tests.http.test_admin import make_admin
from tests.jobs.fake_server import FakeInferenceServer
from tests.loopback import NO_TLS
from tests.services import client_of

pytestmark = pytest.mark.slow
CASES = int(os.environ.get("HUAJUAN_FUZZ_CASES", "20"))
AGGREGATES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
CONFORM = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
# Messages that are possible for any path.
OF_ANY_PATH = {messages.NO_SUCH_ROUTE, messages.BAD_REQUEST}
# Most cases use a valid token, and half of them existing values instead of generated ones.
TOKENS = st.sampled_from([*[""] * 14, "none", "garbage"])
KNOWN = st.sampled_from([None, None, None, 0, 1, 2])
PLENTY = LoginAttemptLimits(account_failures_max=10**6, address_failures_max=10**6)


class Visitor:
    """An admin with points and pictures; another account replaces it when its token becomes invalid."""

    def __init__(self, client: httpx.Client, promote: Callable[[str], object]) -> None:
        self.client, self.promote = client, promote
        self.met, self.cases = 0, Counter[tuple[str, int]]()
        self.pictures: list[Json] = []
        self.become_another()

    def become_another(self) -> None:
        self.met += 1
        self.form = {
            "username": f"visitor{self.met}",
            "email": f"visitor{self.met}@example.org",
            "password": "secret",
        }
        assert self.client.post("/register", json=self.form).status_code == 200
        self.promote(self.form["username"])
        self.token = self.client.post("/login", json=self.form).json()["token"]
        self.pictures = [*self.pictures[-1:], self._draw(), self._draw()]
        self.known = self._what_is_known()

    def send(self, operation: Documented, case: Case[Any], token: str, known: int | None) -> None:
        for part in (case.path_parameters, case.query, case.body):
            if known is not None and isinstance(part, dict):
                part |= {
                    key: self.known[key][known % len(self.known[key])] for key in part if key in self.known
                }
        keys = {name: key for name, key in case.headers.items() if _can_be_sent(key)}
        case.headers.clear()
        # A key that is reused with another body is only rejected, so few cases have a key.
        own = keys if known == 2 else {}
        own |= {"Authorization": token or self.token} if token != "none" else {}
        response = case.call(base_url=str(self.client.base_url), headers=own)
        self.cases[operation.name, response.status_code] += 1
        is_stream = "text/event-stream" in str(response.headers.get("content-type", ""))
        # Schemathesis expects one object a frame; frames are tested in `test_generation_events.py`.
        conform = [check for check in CONFORM if check is not checks.response_schema_conformance]
        case.validate_response(response, checks=conform if is_stream else CONFORM)
        if response.content and operation.method != "head" and _is_json(response):
            examine(operation, response)
        # Some cases come without the token although it was given, because the document calls it security.
        if response.status_code == 401 and response.request.headers.get("Authorization") == self.token:
            self.become_another()

    def told(self) -> str:
        operations, statuses = ({key[part] for key in self.cases} for part in (0, 1))
        seen = {status: sum(n for key, n in self.cases.items() if key[1] == status) for status in statuses}
        return f"{self.cases.total()} cases were sent to {len(operations)} operations; replies: {seen}"

    def _draw(self) -> Json:
        own = {"Authorization": self.token}
        drawn: Json = self.client.post("/auth/generate", json=ORDER, headers=own).json()
        return drawn

    def _jobs(self) -> list[int]:
        """Jobs that have ended, because the streams of others do not end."""
        own = {"Authorization": self.token}
        return [job["id"] for job in self.client.get("/auth/generations", headers=own).json()["generations"]]

    def _what_is_known(self) -> dict[str, list[Any]]:
        """Existing values that a case may use, so that not every response is an error."""
        urls, ids = ([drawn[key] for drawn in self.pictures] for key in ("image_url", "id"))
        keys = [url.rpartition("/")[2] for url in urls]
        lists = {"urls": [urls[-1:], urls[-2:]], "ids": [ids[-1:], ids[-2:]]}
        tables = {"name": [projection.name for projection in PROJECTIONS]}
        return {
            "url": urls,
            "id": ids,
            "key": keys,
            "generation": self._jobs(),
            **tables,
            **lists,
            **{key: [v] for key, v in self.form.items()},
        }


def _can_be_sent(header: str) -> bool:
    """Whether a generated header is valid HTTP."""
    return header.isascii() and header.isprintable() and header == header.strip()


def _is_json(response: Response) -> bool:
    return response.headers.get("content-type", [""])[0] == "application/json"


def examine(operation: Documented, response: Response) -> None:
    """The body has the envelope and a documented message."""
    body, status = response.json(), response.status_code
    assert body["code"] == status
    text = _text(body)
    assert text != messages.INTERNAL_ERROR
    if status >= 400 and text not in OF_ANY_PATH:
        assert text in {_text(example) for example in operation.examples(str(status))}
    if status >= 500:
        assert body in operation.examples(str(status))


def _text(body: Json) -> str:
    return str(body.get("message") or body.get("msg") or body.get("error"))


async def _on_record_alone(_: RebuildProcesses, __: str, record_request: Callable[[], Any]) -> bool:
    await record_request()
    return True


@pytest.fixture(scope="module")
def visitor(module_database_url: str, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """The service runs in its own thread, because the tests are synchronous."""
    service = client_of(module_database_url, FakeInferenceServer(), welcome_points=10**6, login=PLENTY)
    with (
        pytest.MonkeyPatch.context() as patch,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(service) as opened,
        httpx.Client(base_url=opened.base_url, timeout=30, verify=NO_TLS) as client,
    ):
        patch.setattr(RebuildProcesses, "start", _on_record_alone)
        visitor = Visitor(client, lambda name: portal.call(make_admin, module_database_url, name))
        yield visitor
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        request.config.get_terminal_writer().line(f"\n{visitor.told()}")


@pytest.fixture(scope="module")
def described() -> Any:
    return schemathesis.openapi.from_dict(closed())


# Operations without parameters and body have no invalid requests.
PAIRS = [
    (operation, kind)
    for operation in operations()
    for kind in AGGREGATES
    if kind is GenerationMode.POSITIVE or {"parameters", "requestBody"} & set(operation.says)
]


@pytest.mark.parametrize(("operation", "kind"), PAIRS, ids=lambda of: getattr(of, "name", None))
def test_every_reply_is_planned(
    operation: Documented, kind: GenerationMode, visitor: Visitor, described: Any
) -> None:
    cases = described[operation.path][operation.method].as_strategy(generation_mode=kind)

    @settings(
        max_examples=CASES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases, token=TOKENS, known=KNOWN)
    def send(case: Case[Any], token: str, known: int | None) -> None:
        visitor.send(operation, case, token, known)

    send()
