"""The possible values of text properties in the OpenAPI document, taken from the code that uses them."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, get_args

from huajuan.audit.hash_chain import Kind
from huajuan.audit.ledger import TOPICS
from huajuan.commands.generate_image import CANCELLED, WAITED_TOO_LONG
from huajuan.domain.aggregate import AggregateRoot
from huajuan.domain.registry import AGGREGATES
from huajuan.event_store.personal_keys import ERASED
from huajuan.http.event_messages import SENTENCES
from huajuan.http.request_body import SAMPLING_METHODS
from huajuan.jobs.dispatcher import NO_SERVER_AVAILABLE
from huajuan.jobs.outcomes import OWNER_GONE
from huajuan.jobs.runner import TOO_LONG
from huajuan.projections.engine.status import OUTCOMES
from huajuan.projections.point_history import Cause
from huajuan.projections.registry import PROJECTIONS

# The states of `/readyz`, and those of the points in it.
READY, DEGRADED, UNREADY = "ready", "degraded", "unready"
BALANCED, UNKNOWN = "balanced", "unknown"


class Values(NamedTuple):
    """The values of a property; with `others` it may also be any other text."""

    values: tuple[str, ...]
    others: bool = False


def _values(values: Iterable[str], *, others: bool = False) -> Values:
    return Values(tuple(dict.fromkeys(values)), others)


_EVENTS = [
    str(topic)
    for kind in AGGREGATES
    for event in vars(kind).values()
    if isinstance(event, type)
    and issubclass(event, AggregateRoot.Event)
    and (topic := getattr(event, "TOPIC", None))
]
_NO_PICTURE = (CANCELLED, WAITED_TOO_LONG, NO_SERVER_AVAILABLE, TOO_LONG, OWNER_GONE)
_FAILURE = {"reason": _values(_NO_PICTURE, others=True)}
_METHOD = {"sampling_method": _values(SAMPLING_METHODS)}

VALUES: Mapping[str, Mapping[str, Values]] = {
    "AcceptedResponse": _FAILURE,
    "JobOnWire": _FAILURE,
    "JobResponse": _FAILURE,
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
    "ReadyResponse": {
        "status": _values((READY, DEGRADED, UNREADY)),
        "points": _values((BALANCED, UNKNOWN), others=True),
    },
}
