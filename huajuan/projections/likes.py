"""The table of likes: who likes which picture."""

from datetime import datetime
from uuid import UUID

import msgspec

from huajuan.domain.like import Like
from huajuan.projections.engine.projection import Projection, Touch, of_stream
from huajuan.projections.engine.table import Table


class LikeRow(msgspec.Struct):
    """A like that stands; `id` is the position at which it was given."""

    like_id: UUID
    id: int
    account_id: UUID
    image_id: UUID
    time: datetime


def given(_: LikeRow | None, event: Like.Given | Like.GivenAgain, position: int) -> LikeRow:
    return LikeRow(event.originator_id, position, event.account_id, event.image_id, event.timestamp)


def taken_back(_: LikeRow, __: Like.TakenBack, ___: int) -> None:
    return None


LIKES = Projection(
    "likes",
    version=1,
    table=Table("likes", LikeRow, "like_id", indexes=["UNIQUE (account_id, image_id)"]),
    touches={
        Like.Given: Touch(of_stream, given),
        Like.GivenAgain: Touch(of_stream, given),
        Like.TakenBack: Touch(of_stream, taken_back),
    },
)
