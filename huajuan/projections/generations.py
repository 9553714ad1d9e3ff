"""The read table `generations`: every image generation job, from its request to its outcome."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

import msgspec

from huajuan.domain.image import Image
from huajuan.event_store.log_reader import RecordedEvent
from huajuan.projections.engine.projection import Handler, Projection, delete_row, of_stream, set_columns
from huajuan.projections.engine.table import ReadTables, Table

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = STATUSES = get_args(Status)
OPEN = frozenset({QUEUED, RUNNING})


class GenerationRow(msgspec.Struct):
    """`id` is the position of `image.requested`, `drawn_id` that of `image.drawn`: the image's id on the
    wire.

    `started_at` is the start of the latest of its `attempts`. `charged` is 0 until the image is drawn. A
    deleted image is `hidden`; an erased one has no row. No column is personal data.
    """

    image_id: UUID
    account_id: UUID
    id: int
    asked_at: datetime
    points: int
    status: str = QUEUED
    attempts: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    reason: str | None = None
    charged: int = 0
    picture: str | None = None
    drawn_id: int | None = None
    hidden: bool = False

    @property
    def is_open(self) -> bool:
        return self.status in OPEN


def requested(_: None, event: Image.Requested, position: int) -> GenerationRow:
    return GenerationRow(event.originator_id, event.account_id, position, event.timestamp, event.points)


def started(row: GenerationRow, event: Image.Started, _: int) -> GenerationRow:
    row.status = RUNNING
    row.attempts = event.attempt
    row.started_at = event.timestamp
    return row


def drawn(row: GenerationRow, event: Image.Drawn, position: int) -> GenerationRow:
    row.picture = event.picture
    row.drawn_id = position
    row.charged = row.points
    return _ended(row, SUCCEEDED, event)


def failed(row: GenerationRow, event: Image.DrawingFailed, _: int) -> GenerationRow:
    row.reason = event.reason
    return _ended(row, FAILED, event)


def cancelled(row: GenerationRow, event: Image.Cancelled, _: int) -> GenerationRow:
    row.reason = event.reason
    return _ended(row, CANCELLED, event)


def _ended(row: GenerationRow, status: str, event: Image.Event) -> GenerationRow:
    row.status = status
    row.ended_at = event.timestamp
    return row


GENERATIONS = Projection(
    "generations",
    version=1,
    table=Table(
        "generations",
        GenerationRow,
        "image_id",
        indexes=[
            "(account_id, id)",
            "(account_id, status, id)",
            "(drawn_id) WHERE drawn_id IS NOT NULL AND started_at IS NOT NULL",
        ],
    ),
    handlers={
        Image.Requested: Handler(of_stream, requested),
        Image.Started: Handler(of_stream, started),
        Image.Drawn: Handler(of_stream, drawn),
        Image.DrawingFailed: Handler(of_stream, failed),
        Image.Cancelled: Handler(of_stream, cancelled),
        Image.Deleted: Handler(of_stream, set_columns(hidden=True)),
        Image.Restored: Handler(of_stream, set_columns(hidden=False)),
        Image.Erased: Handler(of_stream, delete_row),
    },
)


def fold_generation(row: GenerationRow | None, events: Iterable[RecordedEvent]) -> GenerationRow | None:
    """The row after these events of its stream: the same as the table shows once it has folded them."""
    for position, event in events:
        row = GENERATIONS.handlers[type(event)].fold(row, event, position)
    return row


_COLUMNS = ", ".join(f"g.{column}" for column in GENERATIONS.table.columns)
_TABLE = f"{GENERATIONS.schema}.generations g"
_ONE = f"SELECT {_COLUMNS} FROM {_TABLE} WHERE g.account_id = %(account)s AND g.id = %(id)s"
_BEFORE = f"SELECT {_COLUMNS} FROM {_TABLE} WHERE g.account_id = %(account)s AND g.id < %(before)s"
_PAGE = f"{_BEFORE} ORDER BY g.id DESC LIMIT %(most)s"
_PAGE_OF_STATUS = f"{_BEFORE} AND g.status = %(status)s ORDER BY g.id DESC LIMIT %(most)s"
_SERVICE_SECONDS = f"""
SELECT avg(extract(epoch FROM newest.ended_at - newest.started_at))::float8
  FROM (SELECT g.ended_at, g.started_at FROM {_TABLE}
         WHERE g.drawn_id IS NOT NULL AND g.started_at IS NOT NULL
         ORDER BY g.drawn_id DESC LIMIT %(most)s) newest
HAVING count(*) > 0
"""


async def generation_of(tables: ReadTables, account_id: UUID, generation: int) -> GenerationRow | None:
    """A job of the account by its id."""
    return await tables.one(GenerationRow, _ONE, {"account": account_id, "id": generation})


async def generations_of(
    tables: ReadTables, account_id: UUID, before: int, most: int, status: str | None = None
) -> list[GenerationRow]:
    """The account's jobs with smaller ids than `before`, newest first."""
    values = {"account": account_id, "before": before, "most": most, "status": status}
    return await tables.all(GenerationRow, _PAGE_OF_STATUS if status else _PAGE, values)


async def service_seconds(tables: ReadTables, most: int) -> float | None:
    """The mean time from start to end of the last images drawn, at most `most`; `None` before the first."""
    return await tables.one(float, _SERVICE_SECONDS, {"most": most})
