"""The read table `likes`: the current likes of images by accounts."""

from datetime import datetime
from uuid import UUID

import msgspec

from huajuan.domain.like_and_favorite import Like
from huajuan.projections.engine.projection import Handler, Projection, delete_row, of_stream
from huajuan.projections.engine.table import Table


class LikeRow(msgspec.Struct):
    """A like that was not taken back; `id` is the position of its event."""

    like_id: UUID
    id: int
    account_id: UUID
    image_id: UUID
    time: datetime


def given(_: LikeRow | None, event: Like.Given | Like.GivenAgain, position: int) -> LikeRow:
    return LikeRow(event.originator_id, position, event.account_id, event.image_id, event.timestamp)


LIKES = Projection(
    "likes",
    version=1,
    table=Table("likes", LikeRow, "like_id", indexes=["UNIQUE (account_id, image_id)"]),
    handlers={
        Like.Given: Handler(of_stream, given),
        Like.GivenAgain: Handler(of_stream, given),
        Like.TakenBack: Handler(of_stream, delete_row),
    },
)
