"""`redraw`: draws a recorded picture again with its recorded parameters, and compares the pixels."""

import asyncio
import hashlib
import re
import signal
from argparse import ArgumentParser, Namespace
from collections.abc import Coroutine
from contextlib import ExitStack, closing, nullcontext
from typing import Any, TypeVar
from uuid import UUID, uuid4

from huajuan.cli.database import existing_database, open_store
from huajuan.cli.files import file_to_write
from huajuan.cli.output import log, print_json, print_result, printable
from huajuan.domain.image import Image
from huajuan.domain.inference_servers import InferenceServers, deduplicate_servers
from huajuan.inference_client import Graph, InferenceError, not_applied
from huajuan.inference_client.picture import Comparison, compare
from huajuan.jobs.redraw import RedrawRefused, RedrawResult, redraw, require_redrawable
from huajuan.jobs.workflows import WorkflowStore
from huajuan.postgres.statements import Statements
from huajuan.runtime.errors import OperatorError
from huajuan.runtime.shutdown import ShutdownRequested, report_stopping, stop_signals
from huajuan.server.demo_process import DemoComfyUI
from huajuan.server.limits import limits_of
from huajuan.settings import Settings
from huajuan.storage.pictures import PictureMissing, Pictures, StorageUnusable

T = TypeVar("T")
PIXELS_DIFFER = 2
_ADDRESS = re.compile(
    r"(?<![0-9a-f-])([0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12})(?:\.png)?(?:[?#].*)?$"
)
_NUMBER = re.compile(r"[0-9]{1,18}")
_DRAWN_AT = """
SELECT originator_id FROM log.huajuan_events WHERE notification_id = %(position)s AND topic = 'image.drawn'
"""


def add_redraw_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="the picture's id, its address, or the job's UUID")
    parser.add_argument("--save", metavar="FILE", help="store the new picture in this file")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run_redraw(settings: Settings, arguments: Namespace) -> int:
    """Returns 2 if the pixels differ. Costs no points, and writes nothing to the log."""
    # Opened before the drawing, so that an unwritable file is an error at once.
    with nullcontext() if arguments.save is None else file_to_write(arguments.save) as file:
        before, again = _redraw(settings, arguments.image)
        if file:
            file.write(again.drawn.content)
    found = compare(before, again.drawn.content)
    for difference in again.differences:
        log(f"drawn differently: {printable(difference)}")
    if arguments.json:
        _print_json(found, again)
    else:
        print_result(_describe(found, again))
    return 0 if found.are_equal else PIXELS_DIFFER


def _redraw(settings: Settings, name: str) -> tuple[bytes, RedrawResult]:
    with ExitStack() as stack:
        database = stack.enter_context(existing_database(settings))
        try:
            return _run_until_signal(_redraw_at(settings, database.dsn, name, stack))
        except (InferenceError, RedrawRefused, StorageUnusable) as error:
            reason = error.reason if isinstance(error, InferenceError) else error
            raise OperatorError(f"not redrawn: {printable(reason)}") from None


def _run_until_signal(work: Coroutine[Any, Any, T]) -> T:
    """Like `asyncio.run`. A stop signal cancels the work; after its cleanup `ShutdownRequested` is raised.

    An exception raised by a signal handler could be raised inside any task of the loop, and be lost there.
    """
    signalled: list[bool] = []
    before = {number: signal.getsignal(number) for number in stop_signals()}

    async def run() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)

        def stop() -> None:
            if not signalled:
                signalled.append(True)
                report_stopping()
                task.cancel()

        for number in before:
            loop.add_signal_handler(number, stop)
        return await task

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        if signalled:
            raise ShutdownRequested from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def _redraw_at(settings: Settings, dsn: str, name: str, stack: ExitStack) -> tuple[bytes, RedrawResult]:
    """The stored picture, and the new one."""
    image, workflow, urls = await _load(settings, dsn, name)
    before = await _stored_picture(settings, image)
    if not settings.comfyui_urls:
        urls = [*urls, stack.enter_context(closing(DemoComfyUI())).url()]
    if not urls:
        raise OperatorError("an admin has removed all servers of HUAJUAN_COMFYUI_URLS")
    steps = "the workflow's own" if "steps" in not_applied(workflow) else image.steps
    log(f"drawing {image.id} again, {image.width}x{image.height} pixels in {steps} steps")
    limits, checkpoint = limits_of(settings).inference_client, settings.checkpoint
    return before, await redraw(image, workflow, uuid4(), urls, limits, checkpoint, before=before)


async def _load(settings: Settings, dsn: str, name: str) -> tuple[Image, Graph, list[str]]:
    """The image, its workflow, and the addresses of the inference servers by the setting and by admins."""
    async with open_store(settings, dsn) as (store, statements):
        image_id = await _image_id(statements, name)
        image = require_redrawable(await store.find(Image, image_id) if image_id else None)
        servers = await store.find(InferenceServers, store.stream_ids.inference_servers())
        configured = settings.comfyui_urls
        urls = servers.urls(configured) if servers else deduplicate_servers(configured)
        return image, await WorkflowStore(statements).find(image.workflow), urls


async def _image_id(statements: Statements, name: str) -> UUID | None:
    if _NUMBER.fullmatch(name):
        rows = await statements.run(_DRAWN_AT, {"position": int(name)})
        return rows[0][0] if rows else None
    if address := _ADDRESS.search(name.lower()):
        return UUID(address[1])
    raise OperatorError(f"{printable(name)} is not a picture's id, address or UUID")


async def _stored_picture(settings: Settings, image: Image) -> bytes:
    """Raises `OperatorError` if the stored picture is missing, or differs from the record."""
    key = image.picture or ""
    pictures = Pictures.at(settings.storage_place)
    try:
        content = await pictures.read(key, 0, (await pictures.look_up(key)).size)
    except PictureMissing:
        raise OperatorError(
            f"the stored picture {key} is missing: there is nothing to compare with"
        ) from None
    if hashlib.sha256(content).hexdigest() != image.digest:
        raise OperatorError(f"the stored picture {key} differs from the record: it has another SHA-256")
    return content


def _describe(found: Comparison, again: RedrawResult) -> str:
    version = again.drawn.version or "an inference server"
    by = printable(f"{version} at {again.server} with {again.drawn.checkpoint or 'no checkpoint'}")
    pixels = f"{found.size[0] * found.size[1]:,} pixels"
    if found.are_equal:
        return f"equal: all {pixels}; drawn again by {by}"
    most = f"by {found.difference_max} of 255 at most"
    return f"different: {found.pixels_differing:,} of {pixels}, {most}; drawn again by {by}"


def _print_json(found: Comparison, again: RedrawResult) -> None:
    print_json(
        {
            "equal": found.are_equal,
            "pixels": found.size[0] * found.size[1],
            "pixels_differing": found.pixels_differing,
            "difference_max": found.difference_max,
            "host": again.server,
            "checkpoint": again.drawn.checkpoint,
            "painter": again.drawn.version,
            "otherwise": again.differences,
        }
    )
