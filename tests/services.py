"""A whole service on a test database, with a fake host: what commands and routes are tested through."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import msgspec
import uvicorn

from huajuan.bootstrap import open_desk
from huajuan.http.app import create_app
from huajuan.http.services import Desk
from huajuan.server.database import create_tables
from huajuan.server.port import take_port
from huajuan.server.protocol.factory import HttpProtocolFactory
from huajuan.server.protocol.open_files import reserved_descriptors
from huajuan.settings import Settings
from tests.jobs.fake_host import FakeHost, opening
from tests.loopback import NO_TLS

WAIT_SECONDS_MAX = 30
SECRET = "a secret of at least thirty-two bytes"
QUICK = Settings(bcrypt_cost=4, jwt_secret=SECRET, public_url="http://pictures.example")


@asynccontextmanager
async def desk_on(dsn: str, *hosts: FakeHost, **changes: Any) -> AsyncIterator[Desk]:
    """What the commands have at hand, without HTTP."""
    with _settled(dsn, changes) as complete:
        async with open_desk(complete, opening(*(hosts or (FakeHost(),)))) as desk:
            yield desk


@asynccontextmanager
async def desk_before(dsn: str, *urls: str, **changes: Any) -> AsyncIterator[Desk]:
    """As `desk_on`, with servers at these addresses instead of fake ones."""
    with _settled(dsn, {"comfyui_urls": urls} | changes) as complete:
        async with open_desk(complete) as desk:
            yield desk


@asynccontextmanager
async def client_of(dsn: str, *hosts: FakeHost, **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the real application, over real HTTP on loopback."""
    with _settled(dsn, changes) as complete:
        app = create_app(complete, lambda: open_desk(complete, opening(*(hosts or (FakeHost(),)))))
        async with (
            serving(app, complete) as address,
            httpx.AsyncClient(base_url=address, timeout=30, verify=NO_TLS) as client,
        ):
            yield client


@asynccontextmanager
async def client_before(dsn: str, *urls: str, **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
    """As `client_of`, with servers at these addresses instead of fake ones."""
    with _settled(dsn, {"comfyui_urls": urls} | changes) as complete:
        async with (
            serving(create_app(complete, lambda: open_desk(complete))) as address,
            httpx.AsyncClient(base_url=address, timeout=30, verify=NO_TLS) as client,
        ):
            yield client


@contextmanager
def _settled(dsn: str, changes: dict[str, Any]) -> Iterator[Settings]:
    create_tables(dsn)
    with TemporaryDirectory() as folder:
        yield msgspec.structs.replace(QUICK, **{"database_url": dsn, "storage_url": folder, **changes})


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
async def serving(app: Any, settings: Settings = QUICK, *, foreign: bool = False) -> AsyncIterator[str]:
    """The address of a server that runs until the end, with our protocol unless it is `foreign`."""
    ours: Any = HttpProtocolFactory(settings.http, reserved_descriptors(settings))
    protocol = "auto" if foreign else ours
    with take_port("127.0.0.1", 0) as listening:
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
