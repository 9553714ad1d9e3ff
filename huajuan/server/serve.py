"""`serve`: from a bare machine to a listening service, and back, leaving nothing running."""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module

import msgspec
import psycopg

from huajuan.domain.server_address import without_credentials
from huajuan.event_store.installation import stream_ids_at_once
from huajuan.jobs.server_origins import find_origins_at_once, server_origins
from huajuan.jobs.workflows import WorkflowUnusable, check_place, keep_at_start
from huajuan.observability.redaction import address_without_secrets, without_address_secrets
from huajuan.postgres.connect import connect_blocking
from huajuan.projections.rebuild.process import GIVEN_DATABASE_URL
from huajuan.server.announce import say, when_ready
from huajuan.server.data_folder import data_folder_made, missing_folders, signing_key
from huajuan.server.database import Database, open_database
from huajuan.server.demo_process import DemoPainter, demo_painter
from huajuan.server.identity import IDENTITY, server_identity
from huajuan.server.picture_store import claim_store
from huajuan.server.port import take_port
from huajuan.server.server_leases import SecretDiffers, ServerIdentity, release_lease, take_lease
from huajuan.server.shared_files import shared_files
from huajuan.server.uvicorn_runner import APPLICATION, run_until_stopped
from huajuan.settings import PREFIX, Settings, SettingsError
from huajuan.storage.pictures import Pictures, PlaceUnusable, beneath

# An address that means "every interface" is asked over loopback.
_ASK_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def serve(settings: Settings) -> None:
    """Serve until told to stop. Raises what the command line has words for."""
    with ExitStack() as stack:
        _serve(settings, stack)


def _serve(settings: Settings, stack: ExitStack) -> None:
    began = time.monotonic()
    listening = stack.enter_context(take_port(settings.host, settings.port))
    folder = stack.enter_context(data_folder_made(settings.data_folder))
    folder.also_made(missing_folders(settings.storage_place))
    storage = _storage(settings)
    with _usable_workflow(settings):
        check_place(settings.workflow)
    # Both take a while, so the painter loads beside the database.
    painting = None if settings.comfyui_urls else stack.enter_context(demo_painter())
    database = stack.enter_context(open_database(settings, say))
    with _usable_workflow(settings):
        workflow = keep_at_start(database.dsn, settings.workflow)
    settings = msgspec.structs.replace(settings, workflow=workflow)
    complete, painter = _complete(settings, database, storage, painting)
    _hand_over(complete, settings.database_url, _leased(complete, stack))
    if settings.workers > 1:
        stack.enter_context(shared_files(settings.data_folder))
    when_ready(
        _ASK_AT.get(settings.host, settings.host),
        settings.port,
        lambda: _welcome(complete, database, painter, time.monotonic() - began),
    )
    folder.keep()
    run_until_stopped(complete, listening)


def _storage(settings: Settings) -> str:
    """Tried here once, by writing and reading, for a worker that cannot use it would only fail at length."""
    place = settings.storage_place
    try:
        for each in (place, beneath(place, "avatars")):
            asyncio.run(Pictures.at(each).check())
    except PlaceUnusable as error:
        shown = address_without_secrets(place)
        reason = without_address_secrets(str(error), place)
        raise SettingsError(f"{PREFIX}STORAGE_URL is {shown!r}: {reason}") from None
    return place


@contextmanager
def _usable_workflow(settings: Settings) -> Iterator[None]:
    try:
        yield
    except WorkflowUnusable as error:
        raise SettingsError(f"{PREFIX}WORKFLOW is {settings.workflow!r}: {error}") from None


def _complete(
    settings: Settings, database: Database, storage: str, painting: DemoPainter | None
) -> tuple[Settings, str]:
    """The settings with all that was left open filled in, and the demo server if it draws."""
    urls = settings.comfyui_urls
    painter = ""
    if painting:
        say("starting the demo painter")
        import_module(APPLICATION.split(":")[0])  # meanwhile, for the server needs it next
        urls = (painting.url(),)
        painter = f"demo painter at {urls[0]}: no model draws; set {PREFIX}COMFYUI_URLS to use a real ComfyUI"
    filled_in = msgspec.structs.replace(
        settings,
        database_url=database.dsn,
        comfyui_urls=urls,
        storage_url=storage,
        jwt_secret=settings.jwt_secret or signing_key(settings.data_folder),
    )
    return filled_in, painter


def _leased(settings: Settings, stack: ExitStack) -> ServerIdentity:
    """The identity under which this server's lease is held until the end, which its workers renew."""
    dsn = settings.database_url
    store = claim_store(settings, dsn)
    with connect_blocking(dsn) as connection:
        own = server_identity(settings, stream_ids_at_once(connection), store)
    try:
        take_lease(dsn, own)
    except SecretDiffers as error:
        raise SettingsError(str(error)) from None
    stack.callback(release_lease, dsn, own)
    return own


def _hand_over(settings: Settings, given_database_url: str, own: ServerIdentity) -> None:
    """Workers are processes of their own and read their settings from the environment."""
    os.environ |= {
        f"{PREFIX}DATABASE_URL": settings.database_url,
        GIVEN_DATABASE_URL: given_database_url,
        f"{PREFIX}COMFYUI_URLS": ",".join(settings.comfyui_urls),
        f"{PREFIX}STORAGE_URL": settings.storage_url,
        # By its digest, so that a worker which starts later draws by the same, whatever became of the file.
        f"{PREFIX}WORKFLOW": settings.workflow,
        f"{PREFIX}JWT_SECRET": settings.jwt_secret,
        f"{PREFIX}DATA_DIR": str(settings.data_folder),
        f"{PREFIX}SERVER_PID": str(os.getpid()),
        IDENTITY: msgspec.json.encode(own).decode(),
    }


def _welcome(settings: Settings, database: Database, painter: str, seconds: float) -> str:
    drawing = f"\n{' ' * 12}".join(_servers_shown(settings, database.dsn, painter))
    return (
        f"\n  画卷 huajuan serves {settings.public_address}  (ready in {seconds:.1f} s, Ctrl-C stops it)\n"
        f"  database  {database.description}\n"
        f"  drawn by  {drawing}\n"
        f"  data      {settings.data_folder}\n"
    )


def _servers_shown(settings: Settings, dsn: str, demo: str) -> list[str]:
    """Which servers draw, and why; `demo` stands for the one that this process has started."""
    urls = settings.comfyui_urls
    try:
        origins = find_origins_at_once(dsn, urls)
    except psycopg.Error:  # the service has its own way of saying that the database is away
        origins = server_origins(urls, [])
    started = without_credentials(urls[0]) if demo else ""
    shown = [demo if origin.url == started and origin.draws else origin.sentence for origin in origins]
    return shown or ["nothing: an admin has removed every server"]
