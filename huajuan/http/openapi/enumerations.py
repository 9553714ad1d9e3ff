"""The values that texts of replies can have, for the OpenAPI document; each is taken from the code that says them."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, get_args

from huajuan.audit.ledger import TOPICS
from huajuan.audit.tamper_diagnosis import Kind
from huajuan.commands.cancel_image import CANCELLED
from huajuan.commands.generate_image import WAITED_TOO_LONG
from huajuan.domain.aggregate import Entity
from huajuan.domain.registry import KINDS
from huajuan.event_store.encryption import ERASED
from huajuan.http.event_messages import SENTENCES
from huajuan.http.image_parameters import SAMPLING_METHODS
from huajuan.http.routes.health import BALANCED, DEGRADED, READY, UNKNOWN, UNREADY
from huajuan.jobs.dispatcher import NOBODY_DREW
from huajuan.jobs.outcomes import OWNER_GONE
from huajuan.jobs.runner import TOO_LONG
from huajuan.projections.engine.rebuild_status import OUTCOMES
from huajuan.projections.point_history import Cause
from huajuan.projections.registry import PROJECTIONS


class Values(NamedTuple):
    """What a property says; `others` if it may be any other text too."""

    values: tuple[str, ...]
    others: bool = False


def _values(values: Iterable[str], *, others: bool = False) -> Values:
    return Values(tuple(dict.fromkeys(values)), others)


_EVENTS = [
    str(topic)
    for kind in KINDS
    for event in vars(kind).values()
    if isinstance(event, type)
    and issubclass(event, Entity.Event)
    and (topic := getattr(event, "TOPIC", None))
]
_NO_PICTURE = (CANCELLED, WAITED_TOO_LONG, NOBODY_DREW, TOO_LONG, OWNER_GONE)
_FAILURE = {"reason": _values(_NO_PICTURE, others=True)}
_METHOD = {"sampling_method": _values(SAMPLING_METHODS)}

VALUES: Mapping[str, Mapping[str, Values]] = {
    "AskedReply": _FAILURE,
    "JobOnWire": _FAILURE,
    "JobReply": _FAILURE,
    "ImageOnWire": _METHOD,
    "FavoriteOnWire": _METHOD,
    "SquareOnWire": _METHOD,
    "ImageThen": _METHOD,
    "ChangeOnWire": {"reason": _values((*get_args(Cause), *_NO_PICTURE, ERASED), others=True)},
    "EntryOnWire": {
        "what": _values(topic.removeprefix("account.") for topic in TOPICS),
        "reason": _values((*_NO_PICTURE, ERASED), others=True),
    },
    "LineOnWire": {"event": _values(kind.TOPIC for kind in SENTENCES)},
    "SkipOnWire": {"event": _values(_EVENTS)},
    "ProjectionOnWire": {
        "name": _values(projection.name for projection in PROJECTIONS),
        "stopped_event": _values(_EVENTS),
    },
    "RebuildOnWire": {"outcome": _values(OUTCOMES, others=True)},
    "DamageOnWire": {"kind": _values(get_args(Kind))},
    "ReadyReply": {
        "status": _values((READY, DEGRADED, UNREADY)),
        "points": _values((BALANCED, UNKNOWN), others=True),
    },
}
