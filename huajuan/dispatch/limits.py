"""The bounds of dispatch, each with its unit."""

import msgspec


class DispatchLimits(msgspec.Struct, frozen=True):
    """`job_seconds_max` is how long a picture may take from its request to its end."""

    job_seconds_max: float = 300
    jobs_open_max: int = 200
    lease_seconds: float = 20
    heartbeat_seconds: float = 5
    unasked_seconds_max: float = 600
    abandoned_batch_max: int = 50
    abandoned_every_seconds: float = 10
    retry_pause_seconds: float = 1
