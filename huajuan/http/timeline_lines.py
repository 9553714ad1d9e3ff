"""How what happened to an account looks on the wire and on the command line."""

from collections.abc import Sequence

import msgspec

from huajuan.audit.timeline import Happening
from huajuan.http.event_messages import sentence_of
from huajuan.http.serializers import Moment, wire_time


class LineOnWire(msgspec.Struct):
    """One event, in Chinese and in English; `event` is its kind.

    `actor` is who did it, by name, or by the id in the log where they are erased; `null` is the service itself.
    `image` is the picture's id in the log, `image_id` its id in lists, once it was drawn, `generation_id` its job.
    """

    position: int
    time: Moment
    event: str
    zh: str
    en: str
    actor: str | None
    image: str | None
    image_id: int | None
    correlation_id: str | None
    generation_id: int | None


def line_of(happened: Happening, addresses: Sequence[str]) -> LineOnWire:
    """`addresses` are the public ones of the service, the present one first."""
    said, event = sentence_of(happened, addresses), happened.event
    return LineOnWire(
        happened.position,
        wire_time(event.timestamp),
        event.TOPIC,
        said.zh,
        said.en,
        happened.actor,
        str(happened.image) if happened.image else None,
        happened.image_id,
        event.correlation_id,
        happened.generation_id,
    )
