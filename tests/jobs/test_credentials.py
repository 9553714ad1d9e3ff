"""A server behind a password and a token: it draws, and neither is shown."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from huajuan.demo_comfyui.app import create_app
from huajuan.demo_comfyui.server import DemoServer
from huajuan.domain.inference_servers import is_server_address, without_credentials
from huajuan.inference_client import ComfyUI, ServerUnavailable
from huajuan.inference_client.transport import parse_address
from huajuan.jobs.redraw import redraw
from huajuan.storage.pictures import picture_key
from tests.commands.people import a_person
from tests.inference_client.conftest import FAST, drawing
from tests.jobs.outcome import BRISK, IMPATIENT, asked, image_of, rows
from tests.services import services_with_servers, serving, until

USER, PASSWORD, TOKEN = "o p", "s:e/c@r+e,t", "hush hush"
USER_INFO = "o%20p:s%3Ae%2Fc%40r+e%2Ct"
SECRETS = (PASSWORD, "s%3Ae", "hush")


class Guard:
    """Lets authenticated connections through, and records their types."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.let_through: set[str] = set()
        self.expected = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}".encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan" and not self._knows(scope):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await send({"type": "http.response.start", "status": 401, "headers": []})
                await send({"type": "http.response.body", "body": b"no"})
            return
        self.let_through.add(scope["type"])
        await self._app(scope, receive, send)

    def _knows(self, scope: Any) -> bool:
        headers, query = dict(scope["headers"]), parse_qs(scope["query_string"].decode())
        return headers.get(b"authorization") == self.expected and query.get("token") == [TOKEN]


@asynccontextmanager
async def guarded() -> AsyncIterator[tuple[str, str, Guard]]:
    """The address with credentials, the one without, and the guard."""
    guard = Guard(create_app(DemoServer()))
    async with serving(guard, foreign=True) as url:
        secret = url.replace("//", f"//{USER_INFO}@") + "/?token=hush%20hush"
        yield secret, url, guard


async def test_credentials_are_sent_with_requests_and_websocket() -> None:
    async with guarded() as (secret, url, guard):
        async with ComfyUI(secret, limits=FAST) as comfyui:
            assert (await comfyui.draw(drawing())).content
            await until(lambda: guard.let_through >= {"http", "websocket"})
        async with ComfyUI(url, limits=FAST) as comfyui:
            with pytest.raises(ServerUnavailable) as refused:
                await comfyui.check()
    assert not any(hidden in refused.value.detail for hidden in SECRETS)


async def test_credentials_are_not_shown(database_url: str) -> None:
    with capture_logs() as logs:
        async with (
            guarded() as (secret, url, guard),
            services_with_servers(database_url, secret, dispatch=BRISK, painter=IMPATIENT) as services,
        ):
            ann = await a_person(services, check_ins=1)
            hosts = set()
            image_id = await asked(services, ann)

            async def is_drawn() -> bool:
                hosts.update(await rows(services, "SELECT server, avoid FROM operations.job_leases"))
                return bool((await image_of(services, image_id)).picture)

            await until(is_drawn)
            assert list(services.job_runner.servers.all) == [url]
            server = services.job_runner.servers.all[url]
            workflow = await services.job_runner.workflows.find(services.job_runner.workflows.current)
            image = await image_of(services, image_id)
            before = await services.pictures.whole(picture_key(image_id))
            again = await redraw(image, workflow, uuid4(), [secret], IMPATIENT, before=before)
            assert again.server == url
            guard.expected = b"changed"
            await until(lambda: server.is_reachable is not False)
            services.job_runner.servers.all[url].is_reachable = None
            await until(lambda: server.is_reachable is False)
            shown = repr((hosts, server.url, server.reason, services.job_runner.servers.describe_outage()))
    assert not any(hidden in shown + repr(logs) for hidden in SECRETS)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://u:p@gpu:8188", "http://gpu:8188"),
        ("http://token@gpu:8188/", "http://gpu:8188"),
        ("http://:p@gpu:8188/comfy/", "http://gpu:8188/comfy"),
        ("https://u:p%40q@[::1]:8188?token=t#f", "https://[::1]:8188"),
        ("http://gpu:8188/?token=t", "http://gpu:8188"),
        ("http://u:p/q@gpu:8188", "http://gpu:8188"),
        ("http://u:p@q@gpu:8188", "http://gpu:8188"),
        ("http://u:p?q@gpu:8188", "http://gpu:8188"),
        ("http://u:123#q@gpu:8188", "http://gpu:8188"),
        ("http://u:123/q@gpu:8188", "http://gpu:8188"),
        ("gpu-1", "gpu-1"),
    ],
)
def test_an_address_is_shown_without_credentials(address: str, shown: str) -> None:
    assert without_credentials(address) == without_credentials(shown) == shown


@pytest.mark.parametrize(
    "address", ["gpu:8188", "http://", "http://gpu:99999",
                "http://u:p/q@gpu:8188",
                "http://u:123?q@gpu:8188", "http://u:123#q@gpu:8188", "ftp://gpu", "http://[::1"]
)  # fmt: skip
def test_an_unreadable_address_is_rejected(address: str) -> None:
    assert not is_server_address(address)


@pytest.mark.parametrize("address", ["http://gpu", "HTTPS://u:p@gpu:8188/a?token=t", "http://[::1]:8188"])
def test_an_address_with_credentials_is_accepted(address: str) -> None:
    assert is_server_address(address)


def test_an_address_is_parsed() -> None:
    taken = parse_address("http://u%40x:p%3Aq@gpu:8188/a/?token=t")
    assert taken.url == "http://gpu:8188/a"
    assert taken.headers == {"Authorization": f"Basic {base64.b64encode(b'u@x:p:q').decode()}"}
    assert taken.query == "token=t"
    assert parse_address("http://gpu:8188").headers == {}
