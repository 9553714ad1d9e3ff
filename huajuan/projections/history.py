"""The table of history: what was drawn, for whom, and with which parameters."""

from datetime import datetime
from uuid import UUID

import msgspec

from huajuan.domain.image import Image
from huajuan.projections.projection import Projection, Touch, of_stream
from huajuan.projections.questions import ReadTables
from huajuan.projections.table import Table
from huajuan.projections.users import USERS


class HistoryRow(msgspec.Struct):
    """`id` is the position of `image.drawn`; it, `picture` and `create_time` are empty until then."""

    image_id: UUID
    account_id: UUID
    prompt: str | None
    width: int
    height: int
    steps: int
    sampling_method: str
    seed: str | None
    likecount: int = 0
    id: int | None = None
    picture: str | None = None
    create_time: datetime | None = None


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


def requested(_: HistoryRow | None, event: Image.Requested, __: int) -> HistoryRow:
    return HistoryRow(
        event.originator_id,
        event.account_id,
        event.prompt,
        event.width,
        event.height,
        event.steps,
        event.sampling_method,
        event.seed,
    )


def drawn(row: HistoryRow, event: Image.Drawn, position: int) -> HistoryRow:
    row.id = position
    row.picture = event.picture
    row.create_time = event.timestamp
    return row


def failed(_: HistoryRow, __: Image.DrawingFailed, ___: int) -> None:
    return None


HISTORY = Projection(
    "history",
    version=1,
    table=Table(
        "history",
        HistoryRow,
        "image_id",
        indexes=[
            "UNIQUE (id)",
            "UNIQUE (picture)",
            "(create_time, id) WHERE id IS NOT NULL",
            "(account_id, create_time, id) WHERE id IS NOT NULL",
        ],
    ),
    touches={
        Image.Requested: Touch(of_stream, requested),
        Image.Drawn: Touch(of_stream, drawn),
        Image.DrawingFailed: Touch(of_stream, failed),
    },
)

_IMAGES_OF = f"""
SELECT h.id, u.username, h.likecount, h.picture, h.create_time,
       h.prompt, h.width, h.height, h.steps, h.sampling_method, h.seed
  FROM {HISTORY.schema}.history h JOIN {USERS.schema}.users u USING (account_id)
 WHERE h.account_id = %(account)s AND h.id IS NOT NULL
 ORDER BY h.create_time, h.id LIMIT %(most)s
"""


async def images_of(tables: ReadTables, account_id: UUID, most: int) -> list[DrawnImage]:
    """What was drawn for one account, oldest first."""
    return await tables.all(DrawnImage, _IMAGES_OF, {"account": account_id, "most": most})
