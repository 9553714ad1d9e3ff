"""The read table `history`: the images with their accounts, parameters and like counts."""

import unicodedata
from datetime import datetime
from uuid import UUID

import msgspec
import psycopg

from huajuan.domain.image import Image
from huajuan.domain.like import Like
from huajuan.projections.engine.projection import Handler, Projection, of_stream
from huajuan.projections.engine.table import ReadTables, Table


class HistoryRow(msgspec.Struct):
    """`id` is the position of `image.drawn`; `id`, `picture` and `create_time` are `None` until then.

    `generation_id` is the position of `image.requested`, which is the id of the job. `words` is the prompt in
    the form of `fold_words`, for the search.

    A deleted image is `hidden`: it may be restored with its id and its likes. An erased one has no personal
    data. Between the erasure of an account and that of its images, they are not visible because the account
    has no name.
    """

    image_id: UUID
    account_id: UUID
    prompt: str | None
    words: str | None
    width: int
    height: int
    steps: int
    sampling_method: str
    seed: str | None
    generation_id: int
    likecount: int = 0
    id: int | None = None
    picture: str | None = None
    create_time: datetime | None = None
    hidden: bool = False


def requested(_: HistoryRow | None, event: Image.Requested, position: int) -> HistoryRow:
    return HistoryRow(
        event.originator_id,
        event.account_id,
        event.prompt,
        event.prompt and fold_words(event.prompt),
        event.width,
        event.height,
        event.steps,
        event.sampling_method,
        event.seed,
        position,
    )


def drawn(row: HistoryRow, event: Image.Drawn, position: int) -> HistoryRow:
    row.id = position
    row.picture = event.picture
    row.create_time = event.timestamp
    return row


def hidden(row: HistoryRow, _: Image.Deleted, __: int) -> HistoryRow:
    row.hidden = True
    return row


def restored(row: HistoryRow, _: Image.Restored, __: int) -> HistoryRow:
    row.hidden = False
    return row


def erased(row: HistoryRow, _: Image.Erased, __: int) -> HistoryRow:
    row.prompt = row.words = row.seed = row.picture = None
    row.hidden = True
    return row


def fold_words(text: str) -> str:
    """Folds case and width, so that a search ignores them."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def of_image(event: Like.Given | Like.GivenAgain | Like.TakenBack, _: int) -> UUID:
    image_id: UUID = event.image_id
    return image_id


def liked(row: HistoryRow, _: Like.Given | Like.GivenAgain, __: int) -> HistoryRow:
    row.likecount += 1
    return row


def unliked(row: HistoryRow, _: Like.TakenBack, __: int) -> HistoryRow:
    row.likecount -= 1
    return row


def not_drawn(_: HistoryRow, __: Image.DrawingFailed | Image.Cancelled, ___: int) -> None:
    return None


HISTORY = Projection(
    "history",
    version=4,
    table=Table(
        "history",
        HistoryRow,
        "image_id",
        indexes=[
            "UNIQUE (id)",
            "UNIQUE (picture)",
            "(create_time, id) WHERE id IS NOT NULL AND NOT hidden",
            "(account_id, create_time, id) WHERE id IS NOT NULL AND NOT hidden",
            "(likecount, create_time, id) WHERE id IS NOT NULL AND NOT hidden",
            "(account_id, likecount, create_time, id) WHERE id IS NOT NULL AND NOT hidden",
            "USING gin (operations.grams(words)) WHERE id IS NOT NULL AND NOT hidden",
            "(image_id) WHERE id IS NOT NULL AND NOT hidden",
            "(account_id) WHERE id IS NULL OR picture IS NOT NULL",
        ],
    ),
    handlers={
        Image.Requested: Handler(of_stream, requested),
        Image.Drawn: Handler(of_stream, drawn),
        Image.DrawingFailed: Handler(of_stream, not_drawn),
        Image.Cancelled: Handler(of_stream, not_drawn),
        Image.Deleted: Handler(of_stream, hidden),
        Image.Erased: Handler(of_stream, erased),
        Image.Restored: Handler(of_stream, restored),
        Like.Given: Handler(of_image, liked),
        Like.GivenAgain: Handler(of_image, liked),
        Like.TakenBack: Handler(of_image, unliked),
    },
)

_LIKES = f"SELECT h.likecount FROM {HISTORY.schema}.history h WHERE h.image_id = %(image)s"
_STREAMS = f"SELECT h.id, h.image_id FROM {HISTORY.schema}.history h WHERE h.id = ANY(%(ids)s::int8[])"
# The number of the oldest images in a sample, and of the newest.
SAMPLE_EACH_MAX = 10
_VISIBLE = f"SELECT picture FROM {HISTORY.schema}.history WHERE id IS NOT NULL AND NOT hidden"
_SAMPLE = f"""
({_VISIBLE} ORDER BY create_time, id LIMIT {SAMPLE_EACH_MAX})
 UNION
({_VISIBLE} ORDER BY create_time DESC, id DESC LIMIT {SAMPLE_EACH_MAX})
"""


class ImageIds(msgspec.Struct, frozen=True):
    """The id of an image on the wire, and the id of its stream."""

    id: int
    image_id: UUID


class LikeCount(msgspec.Struct, frozen=True):
    """The number of likes of an image."""

    likecount: int


async def find_image_ids(tables: ReadTables, ids: list[int]) -> dict[int, UUID]:
    """The stream ids of images by their ids on the wire; deleted images too."""
    return {found.id: found.image_id for found in await tables.all(ImageIds, _STREAMS, {"ids": ids})}


async def like_count(tables: ReadTables, image_id: UUID) -> int:
    found = await tables.one(LikeCount, _LIKES, {"image": image_id})
    return found.likecount if found else 0


def picture_sample(connection: psycopg.Connection) -> list[str]:
    """Storage keys of some visible images, to check a picture store; empty only if there are none."""
    return [key for (key,) in connection.execute(_SAMPLE.encode())]
