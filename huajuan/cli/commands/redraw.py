"""`redraw`: a recorded picture drawn again by what the log says of it, and whether the pixels are equal."""

import hashlib
import re
from argparse import ArgumentParser, Namespace
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import IO, Any
from uuid import UUID, uuid4

from huajuan.cli.command import CannotDo, Verb
from huajuan.cli.database import database_there_is, opened_pool, opened_store
from huajuan.cli.files import file_to_write
from huajuan.cli.output import aside, printable, result, result_as_json
from huajuan.cli.run_async import run_until_told
from huajuan.domain.image import Image
from huajuan.domain.inference_servers import Studio
from huajuan.domain.server_address import one_of_each
from huajuan.inference_client import Graph, InferenceError, not_applied
from huajuan.inference_client.comparing import Comparison, compare
from huajuan.jobs.redraw import NotToRedraw, Redrawn, redraw, refuse_to_redraw
from huajuan.jobs.workflows import Workflows
from huajuan.postgres.statements import Statements
from huajuan.server.demo_process import demo_painter
from huajuan.settings import Settings
from huajuan.storage.pictures import PictureMissing, Pictures, PlaceUnusable

PIXELS_DIFFER = 2
_ADDRESS = re.compile(
    r"(?<![0-9a-f-])([0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12})(?:\.png)?(?:[?#].*)?$"
)
_NUMBER = re.compile(r"[0-9]{1,18}")
_DRAWN_AT = """
SELECT originator_id FROM log.huajuan_events WHERE notification_id = %(position)s AND topic = 'image.drawn'
"""


def _words(parser: ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="the picture's id, its address, or the job's UUID")
    parser.add_argument("--save", metavar="FILE", help="keep the new picture")
    parser.add_argument("--json", action="store_true", help="for machines")


def _act(settings: Settings, words: Namespace) -> int:
    """Exit 2 when the pixels differ. Nothing is charged, and nothing is written to the log."""
    with _file_to_keep_it(words.save) as file:
        before, again = _drawn(settings, words.image)
        if file:
            file.write(again.drawn.content)
    return _tell(compare(before, again.drawn.content), again, as_json=words.json)


def _file_to_keep_it(name: str | None) -> AbstractContextManager[IO[bytes] | None]:
    """Opened before anything is drawn, for it may turn out that nothing can be written there."""
    return nullcontext() if name is None else file_to_write(name)


def _drawn(settings: Settings, named: str) -> tuple[bytes, Redrawn]:
    with ExitStack() as stack:
        database = stack.enter_context(database_there_is(settings))
        try:
            return run_until_told(_redraw(settings, database.dsn, named, stack))
        except (InferenceError, NotToRedraw, PlaceUnusable) as error:
            raise CannotDo(f"not redrawn: {_why(error)}") from None


def _why(error: Exception) -> str:
    return printable(error.reason if isinstance(error, InferenceError) else error)


async def _redraw(settings: Settings, dsn: str, named: str, stack: ExitStack) -> tuple[bytes, Redrawn]:
    """The picture as it is kept, and the new one."""
    image, workflow, urls = await _on_record(settings, dsn, named)
    before = await _stored(settings, image)
    if not settings.comfyui_urls:
        urls = [*urls, stack.enter_context(demo_painter()).url()]
    if not urls:
        raise CannotDo("an admin has removed every server that HUAJUAN_COMFYUI_URLS names")
    steps = "the workflow's own" if "steps" in not_applied(workflow) else image.steps
    aside(f"drawing {image.id} again, {image.width}x{image.height} pixels in {steps} steps")
    limits, checkpoint = settings.painter_limits, settings.checkpoint
    return before, await redraw(image, workflow, uuid4(), urls, limits, checkpoint, before=before)


async def _on_record(settings: Settings, dsn: str, named: str) -> tuple[Image, Graph, list[str]]:
    """With the addresses of the servers that draw, as the setting and admins say."""
    async with opened_pool(settings, dsn) as pool, opened_store(settings, dsn) as store:
        statements = Statements(pool, settings.log.reconnect_seconds_max)
        image_id = await _image_id(statements, named)
        image = refuse_to_redraw(await store.find(Image, image_id) if image_id else None)
        studio = await store.find(Studio, store.stream_ids.studio())
        configured = settings.comfyui_urls
        urls = studio.painters(configured) if studio else one_of_each(configured)
        return image, await Workflows(statements).find(image.workflow), urls


async def _image_id(statements: Statements, named: str) -> UUID | None:
    if _NUMBER.fullmatch(named):
        rows = await statements.run(_DRAWN_AT, {"position": int(named)})
        return rows[0][0] if rows else None
    if address := _ADDRESS.search(named.lower()):
        return UUID(address[1])
    raise CannotDo(f"{printable(named)} is no picture's id, address or UUID")


async def _stored(settings: Settings, image: Image) -> bytes:
    """The picture as it is kept. Raises `CannotDo` when it is gone, or is not what was recorded."""
    key = image.picture or ""
    pictures = Pictures.at(settings.storage_place)
    try:
        content = await pictures.read(key, 0, (await pictures.look(key)).size)
    except PictureMissing:
        raise CannotDo(f"the stored picture {key} is gone: there is nothing to compare with") from None
    if hashlib.sha256(content).hexdigest() != image.digest:
        raise CannotDo(f"the stored picture {key} is not the one on record: its SHA-256 is another")
    return content


def _tell(found: Comparison, again: Redrawn, *, as_json: bool) -> int:
    for difference in again.otherwise:
        aside(f"not as it was drawn: {printable(difference)}")
    if as_json:
        result_as_json(_as_json(found, again))
    else:
        result(_told(found, again))
    return 0 if found.are_equal else PIXELS_DIFFER


def _told(found: Comparison, again: Redrawn) -> str:
    by = printable(
        f"{again.drawn.version or 'a painter'} at {again.host} with {again.drawn.checkpoint or 'no checkpoint'}"
    )
    width, height = found.size
    if found.are_equal:
        return f"equal: all {width * height:,} pixels; drawn again by {by}"
    return (
        f"different: {found.pixels_differing:,} of {width * height:,} pixels, "
        f"by {found.difference_max} of 255 at most; drawn again by {by}"
    )


def _as_json(found: Comparison, again: Redrawn) -> dict[str, Any]:
    return {
        "equal": found.are_equal,
        "pixels": found.size[0] * found.size[1],
        "pixels_differing": found.pixels_differing,
        "difference_max": found.difference_max,
        "host": again.host,
        "checkpoint": again.drawn.checkpoint,
        "painter": again.drawn.version,
        "otherwise": again.otherwise,
    }


REDRAW = Verb("redraw", "draw a recorded picture again, and say whether the pixels are equal", _act, _words)
