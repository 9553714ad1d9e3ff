"""Every bound this library keeps, by name and unit."""

import msgspec

MEBIBYTE = 1024 * 1024


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on time, size and repetition; the defaults suit a GPU host on the same network.

    A server whose worker holds the interpreter lock answers nothing for many seconds while the job
    goes on well, so time-outs here are long and mean "cannot tell", never "failed".
    """

    connect_seconds_max: float = 10.0
    read_seconds_max: float = 30.0
    """The longest silence between two pieces of an answer."""
    request_seconds_max: float = 60.0
    """The longest whole request, pictures apart."""
    connections_max: int = 16
    idle_connection_seconds_max: float = 3.0
    json_bytes_max: int = 32 * MEBIBYTE
    detail_characters_max: int = 2000

    picture_bytes_max: int = 32 * MEBIBYTE
    picture_seconds_max: float = 120.0
    """From the job's end to the whole picture, repeated attempts included."""
    picture_attempts_max: int = 3

    look_attempts_max: int = 2
    """How often a look-up is tried before anything is sent."""
    submit_attempts_max: int = 3
    looks_before_resending: int = 4
    retry_seconds: float = 0.5
    """The pause between two attempts at anything."""
    checkpoints_cached_seconds: float = 60.0
    """So long the server's models, kinds of node and version are remembered."""
    version_seconds_max: float = 3.0
    """How long a picture that is there waits for the server to say its version."""

    poll_seconds_min: float = 0.25
    poll_seconds_max: float = 3.0
    history_seconds_max: float = 3.0
    """How long a finished job may be missing from the history."""
    lost_seconds_max: float = 5.0
    """How long a job may be unknown to the server before it counts as lost."""
    unreachable_seconds_max: float = 30.0
    seconds_without_progress_max: float = 600.0
    job_seconds_max: float = 3600.0
    """The longest wait for one job, its time in the queue included."""
    cancel_seconds_max: float = 30.0
    """How long a request to stop may take to show."""
    jobs_watched_max: int = 1000

    socket_open_seconds_max: float = 10.0
    socket_close_seconds_max: float = 5.0
    socket_ping_seconds: float = 20.0
    socket_pong_seconds_max: float = 60.0
    socket_frame_bytes_max: int = 64 * MEBIBYTE
    socket_event_bytes_max: int = MEBIBYTE
    """Longer text frames are dropped unread: no event this library needs is that long."""
    socket_useful_seconds: float = 10.0
    """A connection that held for less is no reason to reconnect at once."""
    socket_unheard_jobs_max: int = 2
    """So many jobs in a row without one event make the socket suspect, and it is opened anew."""
    socket_head_start_seconds_max: float = 1.0
    """How long a submission waits for the socket's first connection."""
    socket_retry_seconds_min: float = 0.5
    socket_retry_seconds_max: float = 30.0
    socket_silent_seconds_max: float = 30.0
    """A running job silent for longer makes the socket suspect, and it is opened anew."""
    socket_renewals_max: int = 2
    """How often one job may have the socket opened anew."""
