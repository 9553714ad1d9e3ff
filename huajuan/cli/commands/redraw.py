"""`redraw`: draws a recorded picture again with its recorded parameters, and compares the pixels."""

import hashlib
import re
from argparse import ArgumentParser, Namespace
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import IO, Any
from uuid import UUID, uuid4

from huajuan.cli.command import CliCommand, CommandError
from huajuan.cli.database import connect_pool, existing_database, open_store
from huajuan.cli.files import file_to_write
from huajuan.cli.output import log, print_json, print_result, printable
from huajuan.cli.run_async import run_until_signal
from huajuan.domain.image import Image
from huajuan.domain.inference_servers import InferenceServers
from huajuan.domain.server_address import deduplicate_servers
from huajuan.inference_client import Graph, InferenceError, not_applied
from huajuan.inference_client.picture import Comparison, compare
from huajuan.jobs.redraw import RedrawRefused, RedrawResult, redraw, require_redrawable
from huajuan.jobs.workflows import WorkflowStore
from huajuan.postgres.statements import Statements
from huajuan.server.demo_process import running_demo_comfyui
from huajuan.server.limits import limits_of
from huajuan.settings import Settings
from huajuan.storage.pictures import PictureMissing, Pictures, StorageUnusable

PIXELS_DIFFER = 2
_ADDRESS = re.compile(
    r"(?<![0-9a-f-])([0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12})(?:\.png)?(?:[?#].*)?$"
)
_NUMBER = re.compile(r"[0-9]{1,18}")
_DRAWN_AT = """
SELECT originator_id FROM log.huajuan_events WHERE notification_id = %(position)s AND topic = 'image.drawn'
"""


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="the picture's id, its address, or the job's UUID")
    parser.add_argument("--save", metavar="FILE", help="store the new picture in this file")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(settings: Settings, arguments: Namespace) -> int:
    """Returns 2 if the pixels differ. Costs no points, and writes nothing to the log."""
    with _open_output(arguments.save) as file:
        before, again = _redraw(settings, arguments.image)
        if file:
            file.write(again.drawn.content)
    return _report(compare(before, again.drawn.content), again, as_json=arguments.json)


def _open_output(name: str | None) -> AbstractContextManager[IO[bytes] | None]:
    """Opened before the drawing, so that an unwritable file is an error at once."""
    return nullcontext() if name is None else file_to_write(name)


def _redraw(settings: Settings, name: str) -> tuple[bytes, RedrawResult]:
    with ExitStack() as stack:
        database = stack.enter_context(existing_database(settings))
        try:
            return run_until_signal(_redraw_at(settings, database.dsn, name, stack))
        except (InferenceError, RedrawRefused, StorageUnusable) as error:
            raise CommandError(f"not redrawn: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return printable(error.reason if isinstance(error, InferenceError) else error)


async def _redraw_at(settings: Settings, dsn: str, name: str, stack: ExitStack) -> tuple[bytes, RedrawResult]:
    """The stored picture, and the new one."""
    image, workflow, urls = await _load(settings, dsn, name)
    before = await _stored_picture(settings, image)
    if not settings.comfyui_urls:
        urls = [*urls, stack.enter_context(running_demo_comfyui()).url()]
    if not urls:
        raise CommandError("an admin has removed all servers of HUAJUAN_COMFYUI_URLS")
    steps = "the workflow's own" if "steps" in not_applied(workflow) else image.steps
    log(f"drawing {image.id} again, {image.width}x{image.height} pixels in {steps} steps")
    limits, checkpoint = limits_of(settings).inference_client, settings.checkpoint
    return before, await redraw(image, workflow, uuid4(), urls, limits, checkpoint, before=before)


async def _load(settings: Settings, dsn: str, name: str) -> tuple[Image, Graph, list[str]]:
    """The image, its workflow, and the addresses of the inference servers by the setting and by admins."""
    async with connect_pool(settings, dsn) as pool, open_store(settings, dsn) as store:
        statements = Statements(pool, settings.log_reconnect_seconds_max)
        image_id = await _image_id(statements, name)
        image = require_redrawable(await store.find(Image, image_id) if image_id else None)
        studio = await store.find(InferenceServers, store.stream_ids.studio())
        configured = settings.comfyui_urls
        urls = studio.urls(configured) if studio else deduplicate_servers(configured)
        return image, await WorkflowStore(statements).find(image.workflow), urls


async def _image_id(statements: Statements, name: str) -> UUID | None:
    if _NUMBER.fullmatch(name):
        rows = await statements.run(_DRAWN_AT, {"position": int(name)})
        return rows[0][0] if rows else None
    if address := _ADDRESS.search(name.lower()):
        return UUID(address[1])
    raise CommandError(f"{printable(name)} is not a picture's id, address or UUID")


async def _stored_picture(settings: Settings, image: Image) -> bytes:
    """Raises `CommandError` if the stored picture is missing, or differs from the record."""
    key = image.picture or ""
    pictures = Pictures.at(settings.storage_place)
    try:
        content = await pictures.read(key, 0, (await pictures.look_up(key)).size)
    except PictureMissing:
        raise CommandError(f"the stored picture {key} is missing: there is nothing to compare with") from None
    if hashlib.sha256(content).hexdigest() != image.digest:
        raise CommandError(f"the stored picture {key} differs from the record: it has another SHA-256")
    return content


def _report(found: Comparison, again: RedrawResult, *, as_json: bool) -> int:
    for difference in again.differences:
        log(f"drawn differently: {printable(difference)}")
    if as_json:
        print_json(_as_json(found, again))
    else:
        print_result(_describe(found, again))
    return 0 if found.are_equal else PIXELS_DIFFER


def _describe(found: Comparison, again: RedrawResult) -> str:
    version = again.drawn.version or "an inference server"
    by = printable(f"{version} at {again.server} with {again.drawn.checkpoint or 'no checkpoint'}")
    width, height = found.size
    if found.are_equal:
        return f"equal: all {width * height:,} pixels; drawn again by {by}"
    return (
        f"different: {found.pixels_differing:,} of {width * height:,} pixels, "
        f"by {found.difference_max} of 255 at most; drawn again by {by}"
    )


def _as_json(found: Comparison, again: RedrawResult) -> dict[str, Any]:
    return {
        "equal": found.are_equal,
        "pixels": found.size[0] * found.size[1],
        "pixels_differing": found.pixels_differing,
        "difference_max": found.difference_max,
        "host": again.server,
        "checkpoint": again.drawn.checkpoint,
        "painter": again.drawn.version,
        "otherwise": again.differences,
    }


REDRAW = CliCommand("redraw", "draw a recorded picture again, and compare the pixels", _run, _add_arguments)
