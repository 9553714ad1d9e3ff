"""The bounds of a rebuild, each with its unit."""

import os

import msgspec


class RebuildLimits(msgspec.Struct, frozen=True):
    """Memory grows with `page_events_max` and, for each table, `rows_kept_max`; never with the log."""

    page_events_max: int = 10_000
    rows_kept_max: int = 100_000
    # How far behind the live tables the last step may begin, which they wait for.
    last_step_events_max: int = 500
    catch_up_rounds_max: int = 100
    # How long a swap waits for one live table's leader while it holds the others up, before it lets them go on.
    swap_wait_seconds_max: float = 0.25
    swap_pause_seconds: float = 0.25
    swap_tries_max: int = 240
    # A core is left to those who are being served meanwhile.
    indexes_at_once_max: int = max(1, (os.cpu_count() or 1) - 1)
    index_memory_mb: int = 128
    # Who still reads what is to go is waited for in short turns, for nobody may wait behind us.
    drop_wait_seconds_max: float = 0.5
    drop_tries_max: int = 10
    # Of each step when a service looks for what dead rebuilds left.
    leftovers_seconds_max: float = 10
    differences_shown_max: int = 10
