"""The request and the result of a drawing, and the client's limits."""

from typing import Any
from uuid import UUID

import msgspec

MEBIBYTE = 1024 * 1024


class Drawing(msgspec.Struct, frozen=True, kw_only=True):
    """One picture to draw. `prompt_id` identifies the job on the server and must never be reused.

    `width` and `height` are in pixels and are met exactly. `sampling_method` is `DDIM`, `PLMS` or `K-LMS`.
    `noise_seed` is in 0 … 2^64-1. Without a `checkpoint` the first one that the server lists is used.
    `workflow` is a graph with placeholders, by default our own. With `default_grid` sizes are rounded up
    to multiples of 8, whatever the server says of its inputs.
    """

    prompt_id: UUID
    prompt: str
    width: int
    height: int
    steps: int
    sampling_method: str
    noise_seed: int
    negative_prompt: str = ""
    checkpoint: str | None = None
    workflow: dict[str, Any] | None = None
    default_grid: bool = False


class Drawn(msgspec.Struct, frozen=True):
    """A verified PNG without metadata, the model in the graph, and the server's version ("" if unknown)."""

    content: bytes
    checkpoint: str = ""
    version: str = ""


class ClientLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of time, size and repetition. The defaults suit a GPU server on the same network.

    A server whose worker holds the interpreter lock may not answer for many seconds while the job goes on. So
    time limits of requests are long, and exceeding one means that the state of the job is unknown, not that
    it failed.
    """

    connect_seconds_max: float = 10.0
    read_seconds_max: float = 30.0  # the longest pause between two parts of a response
    request_seconds_max: float = 60.0  # the longest whole request, except for pictures
    connections_max: int = 16
    idle_connection_seconds_max: float = 3.0
    json_bytes_max: int = 32 * MEBIBYTE
    detail_characters_max: int = 2000

    picture_bytes_max: int = 32 * MEBIBYTE
    picture_seconds_max: float = 120.0  # from the job's end to the whole picture, retries included
    picture_attempts_max: int = 3

    look_attempts_max: int = 2  # attempts at looking a job up before it is submitted
    submit_attempts_max: int = 3
    looks_before_resending: int = 4
    retry_seconds: float = 0.5  # the pause between two attempts
    checkpoints_cached_seconds: float = 60.0
    """How long the server's models, node types and version are cached."""
    version_seconds_max: float = 3.0  # the longest request for the version, after the picture was fetched
    history_seconds_max: float = 3.0  # how long a finished job may be missing from the history

    poll_seconds_min: float = 0.25
    poll_seconds_max: float = 3.0
    lost_seconds_max: float = 5.0  # how long a job may be unknown to the server before it counts as lost
    unreachable_seconds_max: float = 30.0
    seconds_without_progress_max: float = 600.0
    job_seconds_max: float = 3600.0  # the longest wait for one job, its time in the queue included
    cancel_seconds_max: float = 30.0  # how long a cancellation may take to have an effect
    jobs_watched_max: int = 1000

    socket_open_seconds_max: float = 10.0
    socket_close_seconds_max: float = 5.0
    socket_ping_seconds: float = 20.0
    socket_pong_seconds_max: float = 60.0
    socket_frame_bytes_max: int = 64 * MEBIBYTE
    socket_event_bytes_max: int = MEBIBYTE
    """Longer text frames are dropped: no event that the client needs is that long."""
    socket_useful_seconds: float = 10.0
    """A connection that lasted less does not reset the pause before reconnecting."""
    socket_unheard_jobs_max: int = 2  # after so many consecutive jobs without an event the socket is reopened
    socket_head_start_seconds_max: float = 1.0
    """How long a submission waits for the first connection of the socket."""
    socket_retry_seconds_min: float = 0.5
    socket_retry_seconds_max: float = 30.0
    socket_silent_seconds_max: float = 30.0
    """The socket is reopened when a running job has had no event for so long."""
    socket_renewals_max: int = 2  # how often one job may reopen the socket


def mapping(found: object) -> dict[Any, Any]:
    """A part of a server's document, or an empty object where the part is none."""
    return found if isinstance(found, dict) else {}
