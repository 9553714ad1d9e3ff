"""The table of history: what was drawn, for whom, and with which parameters."""

import unicodedata
from datetime import datetime
from uuid import UUID

import msgspec

from huajuan.domain.image import Image
from huajuan.domain.like import Like
from huajuan.projections.engine.projection import Projection, Touch, of_stream
from huajuan.projections.engine.table import Table
from huajuan.projections.queries.read_tables import ReadTables
from huajuan.projections.users import USERS


class HistoryRow(msgspec.Struct):
    """`id` is the position of `image.drawn`; it, `picture` and `create_time` are empty until then.
    `generation_id` is the position of `image.requested`: the id of the job that made the picture.

    A deleted image is `hidden`, for it may be restored with its likes and its id. An erased one has nothing
    of its owner any more; while it is on its way, its owner has no name and it is not shown.

    `words` is the prompt as it is searched: in any case and width.
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


class DrawnImage(msgspec.Struct, frozen=True):
    """An image that was drawn; `picture` is its storage key."""

    id: int
    username: str
    likecount: int
    picture: str
    create_time: datetime
    prompt: str
    width: int
    height: int
    steps: int
    sampling_method: str
    seed: str
    generation_id: int


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
    """The form in which any case and width of the same words is the same."""
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
    touches={
        Image.Requested: Touch(of_stream, requested),
        Image.Drawn: Touch(of_stream, drawn),
        Image.DrawingFailed: Touch(of_stream, not_drawn),
        Image.Cancelled: Touch(of_stream, not_drawn),
        Image.Deleted: Touch(of_stream, hidden),
        Image.Erased: Touch(of_stream, erased),
        Image.Restored: Touch(of_stream, restored),
        Like.Given: Touch(of_image, liked),
        Like.GivenAgain: Touch(of_image, liked),
        Like.TakenBack: Touch(of_image, unliked),
    },
)

IMAGE_COLUMNS = """h.id, u.username, h.likecount, h.picture, h.create_time,
       h.prompt, h.width, h.height, h.steps, h.sampling_method, h.seed, h.generation_id"""
SHOWN = f"""{HISTORY.schema}.history h JOIN {USERS.schema}.users u ON u.account_id = h.account_id
 WHERE h.id IS NOT NULL AND NOT h.hidden AND u.username IS NOT NULL"""

_BY_ID = f"SELECT {IMAGE_COLUMNS} FROM {SHOWN} AND h.id = %(id)s"
_BY_PICTURE = f"SELECT {IMAGE_COLUMNS} FROM {SHOWN} AND h.picture = %(picture)s"
_FIRST_OF_USER = f"""
SELECT {IMAGE_COLUMNS} FROM {SHOWN} AND u.username = %(username)s ORDER BY h.create_time, h.id LIMIT 1
"""
_IDENTITIES = f"SELECT h.id, h.image_id FROM {HISTORY.schema}.history h WHERE h.id = ANY(%(ids)s::int8[])"
_LIKES = f"SELECT h.likecount FROM {HISTORY.schema}.history h WHERE h.image_id = %(image)s"


class Identity(msgspec.Struct, frozen=True):
    """An image's id on the wire, and its id in the log."""

    id: int
    image_id: UUID


class Likes(msgspec.Struct, frozen=True):
    """How many like an image."""

    likecount: int


async def image_by_id(tables: ReadTables, image: int) -> DrawnImage | None:
    return await tables.one(DrawnImage, _BY_ID, {"id": image})


async def image_by_picture(tables: ReadTables, picture: str) -> DrawnImage | None:
    return await tables.one(DrawnImage, _BY_PICTURE, {"picture": picture})


async def first_image_of(tables: ReadTables, username: str) -> DrawnImage | None:
    return await tables.one(DrawnImage, _FIRST_OF_USER, {"username": username})


async def identities(tables: ReadTables, ids: list[int]) -> dict[int, UUID]:
    """Images' ids in the log, by their ids on the wire; deleted ones too."""
    return {found.id: found.image_id for found in await tables.all(Identity, _IDENTITIES, {"ids": ids})}


async def likes_of(tables: ReadTables, image_id: UUID) -> int:
    found = await tables.one(Likes, _LIKES, {"image": image_id})
    return found.likecount if found else 0
