"""Starts everything that the service needs, runs it until a stop signal, and stops everything again."""

import asyncio
import dataclasses
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib import import_module

import msgspec
import psycopg

from huajuan.domain.inference_servers import without_credentials
from huajuan.event_store.stream_ids import load_stream_ids_blocking
from huajuan.jobs.server_origins import find_origins_blocking, server_origins
from huajuan.jobs.workflows import WorkflowUnusable, check_workflow_setting, store_workflow_blocking
from huajuan.postgres.connect import connect_blocking
from huajuan.projections.rebuild.process import GIVEN_DATABASE_URL
from huajuan.projections.registry import PROJECTIONS
from huajuan.runtime.redaction import without_address_secrets
from huajuan.server.data_folder import creating_data_folder, load_signing_key, missing_folders, shared_files
from huajuan.server.database import Database, open_database, print_status
from huajuan.server.demo_process import DemoComfyUI
from huajuan.server.limits import limits_of
from huajuan.server.picture_store import claim_picture_store
from huajuan.server.server_leases import (
    IDENTITY,
    ServerIdentity,
    acquire_lease,
    make_server_identity,
    release_lease,
)
from huajuan.server.uvicorn_runner import APPLICATION, bind_listener, call_when_ready, run_until_stopped
from huajuan.settings import INTERNAL_PREFIX, PREFIX, Settings, SettingsError
from huajuan.storage.pictures import Pictures, StorageUnusable, storage_subfolder

# The readiness check of an address that means "all interfaces" uses loopback.
_CHECK_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def serve(settings: Settings) -> None:
    """Runs until a stop signal. Raises `OperatorError` and `OSError`."""
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
    demo = None if settings.comfyui_urls else stack.enter_context(closing(DemoComfyUI()))
    database = stack.enter_context(open_database(settings, print_status))
    demo_url = ""
    if demo:
        print_status("starting the demo ComfyUI")
        import_module(APPLICATION.split(":")[0])  # in the meantime, because it is needed next
        demo_url = demo.url()
    with _usable_workflow(settings):
        workflow = store_workflow_blocking(database.dsn, settings.workflow)
    complete = dataclasses.replace(
        settings,
        # By its digest: a worker that starts later uses the same workflow even if the file has changed.
        workflow=workflow,
        database_url=database.dsn,
        comfyui_urls=(demo_url,) if demo else settings.comfyui_urls,
        storage_url=storage,
        jwt_secret=settings.jwt_secret or load_signing_key(settings.data_folder),
    )
    _set_worker_environment(complete, settings.database_url, _acquire_lease(complete, stack))
    if settings.workers > 1:
        stack.enter_context(shared_files(settings.data_folder))
    call_when_ready(
        _CHECK_AT.get(settings.host, settings.host),
        settings.port,
        lambda: print_status(_welcome(complete, database, demo_url, time.monotonic() - began)),
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
        reason = without_address_secrets(str(error), place)
        raise SettingsError(f"{PREFIX}STORAGE_URL is {settings.storage_shown!r}: {reason}") from None
    return place


@contextmanager
def _usable_workflow(settings: Settings) -> Iterator[None]:
    try:
        yield
    except WorkflowUnusable as error:
        raise SettingsError(f"{PREFIX}WORKFLOW is {settings.workflow!r}: {error}") from None


def _acquire_lease(settings: Settings, stack: ExitStack) -> ServerIdentity:
    """The identity of this server, whose lease the workers renew until the end."""
    dsn = settings.database_url
    store = claim_picture_store(settings, dsn)
    with connect_blocking(dsn) as connection:
        own = make_server_identity(settings, load_stream_ids_blocking(connection), store)
    acquire_lease(dsn, own)
    stack.callback(release_lease, dsn, own)
    return own


def _set_worker_environment(settings: Settings, given_database_url: str, own: ServerIdentity) -> None:
    """Workers are processes that read their settings from the environment."""
    os.environ |= {
        f"{PREFIX}DATABASE_URL": settings.database_url,
        GIVEN_DATABASE_URL: given_database_url,
        f"{PREFIX}COMFYUI_URLS": ",".join(settings.comfyui_urls),
        f"{PREFIX}STORAGE_URL": settings.storage_url,
        f"{PREFIX}WORKFLOW": settings.workflow,
        f"{PREFIX}JWT_SECRET": settings.jwt_secret,
        f"{PREFIX}DATA_DIR": str(settings.data_folder),
        f"{INTERNAL_PREFIX}SERVER_PID": str(os.getpid()),
        IDENTITY: msgspec.json.encode(own).decode(),
    }


def _welcome(settings: Settings, database: Database, demo_url: str, seconds: float) -> str:
    drawing = f"\n{' ' * 12}".join(_describe_servers(settings, database.dsn, demo_url))
    return (
        f"\n  画卷 huajuan serves {settings.public_address}  (ready in {seconds:.1f} s, Ctrl-C stops it)\n"
        f"  database  {database.description}\n"
        f"  drawn by  {drawing}\n"
        f"  data      {settings.data_folder}\n"
    )


def _describe_servers(settings: Settings, dsn: str, demo_url: str) -> list[str]:
    """The inference servers and their origins; the demo ComfyUI of this process has its own description."""
    urls = settings.comfyui_urls
    try:
        origins = find_origins_blocking(dsn, urls)
    except psycopg.Error:  # the health check reports the outage
        origins = server_origins(urls, [])
    if demo_url:
        remedy = f"set {PREFIX}COMFYUI_URLS to use a real ComfyUI"
        own = f"demo ComfyUI at {demo_url}: draws without a model; {remedy}"
        started = without_credentials(demo_url)
        shown = [own if origin.url == started and origin.draws else origin.sentence for origin in origins]
    else:
        shown = [origin.sentence for origin in origins]
    return shown or ["nothing: an admin has removed all servers"]
