"""Starts everything that the service needs, runs it until a stop signal, and stops everything again."""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module

import msgspec
import psycopg

from huajuan.domain.server_address import without_credentials
from huajuan.event_store.stream_ids import load_stream_ids_blocking
from huajuan.jobs.server_origins import find_origins_blocking, server_origins
from huajuan.jobs.workflows import WorkflowUnusable, check_workflow_setting, store_workflow_blocking
from huajuan.observability.redaction import address_without_secrets, without_address_secrets
from huajuan.postgres.connect import connect_blocking
from huajuan.projections.rebuild.process import GIVEN_DATABASE_URL
from huajuan.projections.registry import PROJECTIONS
from huajuan.server.data_folder import creating_data_folder, load_signing_key, missing_folders, shared_files
from huajuan.server.database import Database, open_database
from huajuan.server.demo_process import DemoComfyUI, running_demo_comfyui
from huajuan.server.limits import limits_of
from huajuan.server.listener import announce_when_ready, bind_listener, print_status
from huajuan.server.picture_store import claim_picture_store
from huajuan.server.server_leases import (
    IDENTITY,
    SecretDiffers,
    ServerIdentity,
    acquire_lease,
    make_server_identity,
    release_lease,
)
from huajuan.server.uvicorn_runner import APPLICATION, run_until_stopped
from huajuan.settings import INTERNAL_PREFIX, PREFIX, Settings, SettingsError
from huajuan.storage.pictures import Pictures, StorageUnusable, storage_subfolder

# The readiness check of an address that means "all interfaces" uses loopback.
_CHECK_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def serve(settings: Settings) -> None:
    """Runs until a stop signal. Raises errors that the command line prints in one line."""
    with ExitStack() as stack:
        _serve(settings, stack)


def _serve(settings: Settings, stack: ExitStack) -> None:
    began = time.monotonic()
    _check_table_names(settings)
    limits = limits_of(settings).http
    listening = stack.enter_context(bind_listener(settings.host, settings.port))
    folder = stack.enter_context(creating_data_folder(settings.data_folder))
    folder.add_created(missing_folders(settings.storage_place))
    storage = _storage(settings)
    with _usable_workflow(settings):
        check_workflow_setting(settings.workflow)
    # Both take a while, so the demo ComfyUI starts in parallel with the database.
    demo = None if settings.comfyui_urls else stack.enter_context(running_demo_comfyui())
    database = stack.enter_context(open_database(settings, print_status))
    with _usable_workflow(settings):
        workflow = store_workflow_blocking(database.dsn, settings.workflow)
    settings = msgspec.structs.replace(settings, workflow=workflow)
    complete, demo_text = _complete(settings, database, storage, demo)
    _set_worker_environment(complete, settings.database_url, _acquire_lease(complete, stack))
    if settings.workers > 1:
        stack.enter_context(shared_files(settings.data_folder))
    announce_when_ready(
        _CHECK_AT.get(settings.host, settings.host),
        settings.port,
        lambda: _welcome(complete, database, demo_text, time.monotonic() - began),
    )
    folder.keep()
    run_until_stopped(complete, limits, listening)


def _check_table_names(settings: Settings) -> None:
    tables = {projection.name for projection in PROJECTIONS}
    if not tables.issuperset(settings.readyz_optional_tables):
        names = ", ".join(sorted(tables))
        raise SettingsError(
            f"{PREFIX}READYZ_OPTIONAL_TABLES must be names of read tables, separated by commas: {names}"
        )


def _storage(settings: Settings) -> str:
    """Writes and reads a probe, so that an unusable store fails here, in one line, and not in each worker."""
    place = settings.storage_place
    try:
        for each in (place, storage_subfolder(place, "avatars")):
            asyncio.run(Pictures.at(each).check())
    except StorageUnusable as error:
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
    settings: Settings, database: Database, storage: str, demo: DemoComfyUI | None
) -> tuple[Settings, str]:
    """The settings with the values of this start, and a description of the demo ComfyUI if it is used."""
    urls = settings.comfyui_urls
    demo_text = ""
    if demo:
        print_status("starting the demo ComfyUI")
        import_module(APPLICATION.split(":")[0])  # in the meantime, because it is needed next
        urls = (demo.url(),)
        remedy = f"set {PREFIX}COMFYUI_URLS to use a real ComfyUI"
        demo_text = f"demo ComfyUI at {urls[0]}: draws without a model; {remedy}"
    filled_in = msgspec.structs.replace(
        settings,
        database_url=database.dsn,
        comfyui_urls=urls,
        storage_url=storage,
        jwt_secret=settings.jwt_secret or load_signing_key(settings.data_folder),
    )
    return filled_in, demo_text


def _acquire_lease(settings: Settings, stack: ExitStack) -> ServerIdentity:
    """The identity of this server, whose lease the workers renew until the end."""
    dsn = settings.database_url
    store = claim_picture_store(settings, dsn)
    with connect_blocking(dsn) as connection:
        own = make_server_identity(settings, load_stream_ids_blocking(connection), store)
    try:
        acquire_lease(dsn, own)
    except SecretDiffers as error:
        raise SettingsError(str(error)) from None
    stack.callback(release_lease, dsn, own)
    return own


def _set_worker_environment(settings: Settings, given_database_url: str, own: ServerIdentity) -> None:
    """Workers are processes that read their settings from the environment."""
    os.environ |= {
        f"{PREFIX}DATABASE_URL": settings.database_url,
        GIVEN_DATABASE_URL: given_database_url,
        f"{PREFIX}COMFYUI_URLS": ",".join(settings.comfyui_urls),
        f"{PREFIX}STORAGE_URL": settings.storage_url,
        # By its digest, so that a worker that starts later uses the same workflow even if the file has
        # changed.
        f"{PREFIX}WORKFLOW": settings.workflow,
        f"{PREFIX}JWT_SECRET": settings.jwt_secret,
        f"{PREFIX}DATA_DIR": str(settings.data_folder),
        f"{INTERNAL_PREFIX}SERVER_PID": str(os.getpid()),
        IDENTITY: msgspec.json.encode(own).decode(),
    }


def _welcome(settings: Settings, database: Database, demo_text: str, seconds: float) -> str:
    drawing = f"\n{' ' * 12}".join(_describe_servers(settings, database.dsn, demo_text))
    return (
        f"\n  画卷 huajuan serves {settings.public_address}  (ready in {seconds:.1f} s, Ctrl-C stops it)\n"
        f"  database  {database.description}\n"
        f"  drawn by  {drawing}\n"
        f"  data      {settings.data_folder}\n"
    )


def _describe_servers(settings: Settings, dsn: str, demo_text: str) -> list[str]:
    """The inference servers and their origins; `demo_text` replaces the demo ComfyUI of this process."""
    urls = settings.comfyui_urls
    try:
        origins = find_origins_blocking(dsn, urls)
    except psycopg.Error:  # the health check reports the outage
        origins = server_origins(urls, [])
    started = without_credentials(urls[0]) if demo_text else ""
    shown = [demo_text if origin.url == started and origin.draws else origin.sentence for origin in origins]
    return shown or ["nothing: an admin has removed all servers"]
