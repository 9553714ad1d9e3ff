"""How the read tables' status looks on the wire."""

from typing import Any

import msgspec
from msgspec.structs import asdict

from huajuan.http.serializers import Moment, wire_time
from huajuan.projections.engine.rebuild_status import Rebuild
from huajuan.projections.engine.status import Skip, Status


class SkipOnWire(msgspec.Struct):
    """An event that the table leaves out, by position and kind."""

    position: int
    event: str
    reason: str
    skipped_at: Moment


class RebuildOnWire(msgspec.Struct):
    """A rebuild: up to `position` of `head`; while it runs there is no `ended_at` and no `outcome`."""

    started_at: Moment
    moved_at: Moment | None
    ended_at: Moment | None
    position: int | None
    head: int | None
    events_per_second: float | None
    outcome: str | None
    differences: list[dict[str, Any]] | None


class ProjectionOnWire(msgspec.Struct):
    """`lag_seconds`: for how long it has not moved while events waited. `events_per_second`: of late, smoothed."""

    name: str
    version: int
    position: int
    lag_events: int
    lag_seconds: float
    events_per_second: float
    leader: str | None
    moved_at: Moment
    stopped_at: int | None
    stopped_by: str | None
    stopped_event: str | None
    skips: list[SkipOnWire]
    ignored_skips: list[int]
    rebuilding: bool
    last_rebuild: RebuildOnWire | None


def projection_on_wire(status: Status) -> ProjectionOnWire:
    plain = {
        **asdict(status),
        "lag_seconds": round(status.lag_seconds, 3),
        "events_per_second": round(status.events_per_second, 3),
        "moved_at": wire_time(status.moved_at),
        "skips": [_skip(skip) for skip in status.skips],
        "last_rebuild": status.last_rebuild and _rebuild(status.last_rebuild),
    }
    return ProjectionOnWire(**plain)


def _skip(skip: Skip) -> SkipOnWire:
    return SkipOnWire(skip.position, skip.event, skip.reason, wire_time(skip.skipped_at))


def _rebuild(rebuild: Rebuild) -> RebuildOnWire:
    times = {name: getattr(rebuild, name) for name in ("started_at", "moved_at", "ended_at")}
    return RebuildOnWire(**asdict(rebuild) | {name: at and wire_time(at) for name, at in times.items()})


EXAMPLE_PROJECTION: dict[str, Any] = {
    "name": "history",
    "version": 1,
    "position": 4710,
    "lag_events": 3,
    "lag_seconds": 41.5,
    "events_per_second": 0.0,
    "leader": "gpu-1:20817",
    "moved_at": "2026-11-24T08:00:00.5Z",
    "stopped_at": 4711,
    "stopped_by": "KeyError",
    "stopped_event": "image.drawn",
    "skips": [
        {
            "position": 9,
            "event": "image.drawn",
            "reason": "its file is lost",
            "skipped_at": "2026-11-23T08:00:00Z",
        }
    ],
    "ignored_skips": [],
    "rebuilding": False,
    "last_rebuild": {
        "started_at": "2026-11-23T09:00:00Z",
        "moved_at": "2026-11-23T09:00:12.25Z",
        "ended_at": "2026-11-23T09:00:12.5Z",
        "position": 4600,
        "head": 4600,
        "events_per_second": 368.5,
        "outcome": "done",
        "differences": [],
    },
}
