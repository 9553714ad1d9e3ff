"""The bounds of what is served without an end, each with its unit."""

import msgspec


class StreamLimits(msgspec.Struct, frozen=True):
    """Streams of events: how many a process, and how many an account in it, may have open.

    `look_seconds` is how long one waits, unless woken, before it looks round.
    """

    open_max: int = 200
    account_open_max: int = 10
    look_seconds: float = 1
    heartbeat_seconds: float = 15
