"""The bounds of the event store, each with its unit."""

import msgspec


class LogLimits(msgspec.Struct, frozen=True):
    """Defaults suit one worker; see the settings for how to change them."""

    queue_saves_max: int = 10_000
    batch_saves_max: int = 512
    append_seconds_max: float = 10
    reconnect_seconds_max: float = 20
    reconnect_pause_seconds: float = 0.05
    reconnect_pause_seconds_max: float = 1
    conflict_seconds_max: float = 5
    lock_seconds_max: float = 30
    # A clock that is behind the newest fact by no more than this stamps with that fact's time.
    clock_behind_seconds_max: float = 3600
    aggregates_cached_max: int = 10_000
    keys_cached_max: int = 50_000
    snapshot_every_events: int = 100
    snapshot_after_events_read: int = 20
    snapshots_waiting_max: int = 1_000
    page_events_max: int = 1_000
