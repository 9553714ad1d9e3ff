"""A complete service on a test database, with fake inference servers."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import uvicorn

from huajuan.bootstrap import open_services
from huajuan.http.app import create_app
from huajuan.http.services import Services
from huajuan.server.connections import HttpLimits
from huajuan.server.database import create_tables
from huajuan.server.limits import ServiceLimits, limits_of
from huajuan.server.uvicorn_runner import HttpProtocolFactory, bind_listener, reserved_descriptors
from huajuan.settings import Settings
from tests.jobs.fake_server import FakeInferenceServer, opening
from tests.limits import split
from tests.loopback import NO_TLS

WAIT_SECONDS_MAX = 30
SECRET = "a secret of at least thirty-two bytes"
QUICK = Settings(bcrypt_cost=4, jwt_secret=SECRET, public_url="http://pictures.example")


@asynccontextmanager
async def services_on(dsn: str, *hosts: FakeInferenceServer, **changes: Any) -> AsyncIterator[Services]:
    """The services of a worker, without HTTP."""
    with _settled(dsn, changes) as (complete, limits):
        opened = open_services(complete, opening(*(hosts or (FakeInferenceServer(),))), limits=limits)
        async with opened as services:
            yield services


@asynccontextmanager
async def services_with_servers(dsn: str, *urls: str, **changes: Any) -> AsyncIterator[Services]:
    """As `services_on`, with servers at these addresses instead of fake ones."""
    with _settled(dsn, {"comfyui_urls": urls} | changes) as (complete, limits):
        async with open_services(complete, limits=limits) as services:
            yield services


@asynccontextmanager
async def client_of(
    dsn: str, *hosts: FakeInferenceServer, **changes: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the real application, over real HTTP on loopback."""
    with _settled(dsn, changes) as (complete, limits):
        opened = opening(*(hosts or (FakeInferenceServer(),)))
        app = create_app(complete, lambda: open_services(complete, opened, limits=limits))
        async with (
            serving(app, complete, limits.http) as address,
            httpx.AsyncClient(base_url=address, timeout=30, verify=NO_TLS) as client,
        ):
            yield client


@asynccontextmanager
async def client_with_servers(dsn: str, *urls: str, **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
    """As `client_of`, with servers at these addresses instead of fake ones."""
    with _settled(dsn, {"comfyui_urls": urls} | changes) as (complete, limits):
        app = create_app(complete, lambda: open_services(complete, limits=limits))
        async with (
            serving(app, complete, limits.http) as address,
            httpx.AsyncClient(base_url=address, timeout=30, verify=NO_TLS) as client,
        ):
            yield client


@contextmanager
def _settled(dsn: str, changes: dict[str, Any]) -> Iterator[tuple[Settings, ServiceLimits]]:
    """`changes` are settings and limits, see `split`."""
    create_tables(dsn)
    own, limits = split(changes)
    with TemporaryDirectory() as folder:
        settings = dataclasses.replace(QUICK, **{"database_url": dsn, "storage_url": folder, **own})
        yield settings, limits_of(settings, {}, **limits)


async def until(holds: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for something to come true; a test that waits in vain fails and does not hang."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while True:
            found = holds()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.005)


class Server(uvicorn.Server):
    """Leaves the signals to pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(
    app: Any, settings: Settings = QUICK, limits: HttpLimits | None = None, *, foreign: bool = False
) -> AsyncIterator[str]:
    """The address of a server that runs until the end, with our protocol unless it is `foreign`."""
    ours: Any = HttpProtocolFactory(limits or HttpLimits(), reserved_descriptors(settings))
    protocol = "auto" if foreign else ours
    with bind_listener("127.0.0.1", 0) as listening:
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="auto" if foreign else "none",
            log_config=None,
            access_log=False,
            lifespan="on",
            proxy_headers=False,
        )
        server = Server(config)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started and not task.done():
            await asyncio.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task
