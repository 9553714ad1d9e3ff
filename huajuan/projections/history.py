"""The read table `history`: the images with their accounts, parameters and like counts."""

import unicodedata
from datetime import datetime
from uuid import UUID

import msgspec
import psycopg

from huajuan.domain.image import Image
from huajuan.domain.like_and_favorite import Like
from huajuan.projections.engine.projection import Handler, Projection, delete_row, of_stream, set_columns
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


erased = set_columns(prompt=None, words=None, seed=None, picture=None, hidden=True)


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
        Image.DrawingFailed: Handler(of_stream, delete_row),
        Image.Cancelled: Handler(of_stream, delete_row),
        Image.Deleted: Handler(of_stream, set_columns(hidden=True)),
        Image.Erased: Handler(of_stream, erased),
        Image.Restored: Handler(of_stream, set_columns(hidden=False)),
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


async def find_image_ids(tables: ReadTables, ids: list[int]) -> dict[int, UUID]:
    """The stream ids of images by their ids on the wire; deleted images too."""
    return dict(await tables.all(lambda *ids: ids, _STREAMS, {"ids": ids}))


async def like_count(tables: ReadTables, image_id: UUID) -> int:
    return await tables.one(int, _LIKES, {"image": image_id}) or 0


def picture_sample(connection: psycopg.Connection) -> list[str]:
    """Storage keys of some visible images, to check a picture store; empty only if there are none."""
    return [key for (key,) in connection.execute(_SAMPLE.encode())]
