"""The bounds of the projections, each with its unit."""

import msgspec


class ProjectionLimits(msgspec.Struct, frozen=True):
    """`foreign_grace_seconds` lets the process that appended fold first."""

    batch_events_max: int = 5_000
    turn_events_max: int = 500
    poll_seconds: float = 1
    foreign_grace_seconds: float = 0.03
    retry_pause_seconds: float = 0.1
    retry_pause_seconds_max: float = 0.5
    connect_seconds_max: float = 5
    note_use_every_seconds: float = 60
    # How often it is looked whether a rebuild that died has left anything.
    leftovers_every_seconds: float = 60
    unused_version_hours_max: float = 24
