"""A job as server-sent events: each state once, from the log, and the progress in between."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType
from litestar.params import FromPath
from litestar.response import Stream
from litestar.types import Receive, Scope, Send

from huajuan.auth.sessions import Claims, Sessions
from huajuan.domain.image import Image
from huajuan.event_store.errors import DatabaseFailure
from huajuan.event_store.log_reader import StreamReader
from huajuan.event_store.store import EventStore
from huajuan.http import messages
from huajuan.http.errors import RETRY_AFTER_SECONDS, ApiError
from huajuan.http.generation_status import EXAMPLE_QUEUED, JobViews
from huajuan.http.middleware.normalization import is_head
from huajuan.http.openapi.operations import header_param, operation
from huajuan.http.openapi.schemas import NUMBER, schema_of
from huajuan.http.request import whole_number
from huajuan.http.routes.generations import JOB_ERRORS
from huajuan.http.services import ReadYourWrites
from huajuan.http.sse_hub import SseHub, SseSubscription, TooManyStreams
from huajuan.projections.generations import GENERATIONS, GenerationRow, fold_generation
from huajuan.projections.history import HISTORY
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.point_history import POINT_HISTORY

EVENT_STREAM = "text/event-stream"
STATES = frozenset(
    kind.TOPIC for kind in (Image.Requested, Image.Started, Image.Drawn, Image.DrawingFailed, Image.Cancelled)
)
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
HEARTBEAT = b": still here\n\n"
FRAMES_DESCRIPTION = (
    "Frames as the HTML standard has them, each ended by an empty line. `event: state` has an `id` and as "
    "`data` the job, a `JobOnWire` in JSON; `event: progress` has no `id` and as `data` a `JobProgress`. "
    "A line that begins with a colon is a heartbeat. The stream ends after the state in which the job ended."
)
EXAMPLE_FRAMES = (
    f"id: 8\nevent: state\ndata: {msgspec.json.encode(EXAMPLE_QUEUED).decode()}\n\n"
    'event: progress\ndata: {"position":1,"eta_seconds":6.5,"progress":0.0}\n\n'
)
_logger = structlog.get_logger(__name__)


class JobEventStream:
    """The frames of one client that follows one job, after the position `last` that it has seen."""

    def __init__(
        self,
        subscription: SseSubscription,
        last: int,
        streams: StreamReader,
        job_views: JobViews,
        hub: SseHub,
        read_your_writes: ReadYourWrites,
        may_continue: Callable[[], Awaitable[bool]],
    ) -> None:
        self._subscription, self._last = subscription, last
        self._streams, self._job_views, self._hub = streams, job_views, hub
        self._read_your_writes, self._may_continue = read_your_writes, may_continue
        self._row: GenerationRow | None = None
        self._mean_seconds: float | None = None
        self._sent_progress: tuple[int | None, float] | None = None
        self._sent_at = self._looked_at = 0.0

    async def frames(self) -> AsyncGenerator[bytes]:
        """Frames until the job has ended, the token has ended or the server stops."""
        try:
            for frame in await self._new_states():
                yield frame
            while self._row is not None and self._row.is_open and await self._is_allowed():
                for frame in await self._progress_or_heartbeat():
                    yield frame
                if await self._subscription.wait(self._hub.limits.look_seconds):
                    for frame in await self._new_states():
                        yield frame
        except DatabaseFailure as error:
            # The client reconnects and sends the id of its last frame.
            _logger.warning("an event stream ends early", error=type(error).__name__)

    async def _new_states(self) -> list[bytes]:
        """The states since the last read, sent only after the read tables contain them."""
        subscription = self._subscription
        recorded = await self._streams.after(subscription.stream, subscription.position, GENERATIONS.topics)
        frames = []
        for each in recorded:
            self._row = fold_generation(self._row, [each])
            subscription.position = each.position
            if self._row and each.position > self._last and each.event.TOPIC in STATES:
                frames.append(self._state(each.position, self._row))
        if frames:
            await self._read_your_writes.wait_for(
                subscription.position, GENERATIONS, HISTORY, POINT_BALANCES, POINT_HISTORY
            )
            self._mean_seconds = await self._job_views.mean_seconds()
        return frames

    def _state(self, position: int, row: GenerationRow) -> bytes:
        """Equal bytes each time the same state is sent: the position in the queue is not part of it."""
        return b"id: %d\n" % position + self._frame(b"state", self._job_views.without_progress(row))

    async def _progress_or_heartbeat(self) -> list[bytes]:
        """Progress if it has changed, at most once in `look_seconds`; else, after a while, a heartbeat."""
        now, limits = asyncio.get_running_loop().time(), self._hub.limits
        if self._row is None or now - self._looked_at < limits.look_seconds:
            return []
        self._looked_at = now
        progress = await self._job_views.progress(self._row, self._mean_seconds)
        if self._sent_progress != (progress.position, progress.progress):
            self._sent_progress = progress.position, progress.progress
            return [self._frame(b"progress", progress)]
        if now - self._sent_at < limits.heartbeat_seconds:
            return []
        self._sent_at = now
        return [HEARTBEAT]

    def _frame(self, event: bytes, data: msgspec.Struct) -> bytes:
        self._sent_at = asyncio.get_running_loop().time()
        return b"event: %b\ndata: %b\n\n" % (event, msgspec.json.encode(data))

    async def _is_allowed(self) -> bool:
        return not self._hub.is_stopping and await self._may_continue()


class EventStreamResponse(Stream):
    """Frees the subscription however the stream ends, even before the first frame."""

    def __init__(self, stream: JobEventStream, unsubscribe: Callable[[], None]) -> None:
        self._frames, self._unsubscribe = stream.frames(), unsubscribe
        super().__init__(self._frames, media_type=EVENT_STREAM, headers=HEADERS)

    def to_asgi_response(self, *args: Any, **kwargs: Any) -> Any:
        send_frames = super().to_asgi_response(*args, **kwargs)

        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                async with aclosing(self._frames):
                    await send_frames(scope, receive, send)
            finally:
                self._unsubscribe()

        return respond


TOO_MANY_STREAMS = ApiError(429, {"Retry-After": RETRY_AFTER_SECONDS}, message=messages.TOO_MANY_REQUESTS)


@operation(
    "Drawing",
    media_type=EVENT_STREAM,
    parameters=[
        header_param("Last-Event-ID", "The `id` of the last frame seen: only later states are sent.", NUMBER)
    ],
    responses={
        200: ResponseSpec(str, description="The frames.", media_type=EVENT_STREAM, generate_examples=False),
        204: ResponseSpec(None, description="Nothing will come any more.", generate_examples=False),
    },
    content={
        EVENT_STREAM: OpenAPIMediaType(
            schema=schema_of({"type": "string", "description": FRAMES_DESCRIPTION}), example=EXAMPLE_FRAMES
        )
    },
    errors={**JOB_ERRORS, TooManyStreams: TOO_MANY_STREAMS},
)
async def follow_generation(
    request: Request[Any, Any, Any],
    generation: FromPath[str],
    claims: Claims,
    streams: StreamReader,
    job_views: JobViews,
    sse_hub: SseHub,
    sessions: Sessions,
    store: EventStore,
    read_your_writes: ReadYourWrites,
) -> Response[Any]:
    """The states of a job as server-sent events, and its progress in between.

    `state` frames carry their position in the log as `id`: \
a client that reconnects with `Last-Event-ID` gets the
    later states, each once. `progress` frames have no `id`. The stream ends with the job.
    """
    last = _position(request.headers.get("last-event-id", ""))
    row, newest = await job_views.read_from_log(generation, claims.account_id)
    last = last if last <= newest else 0  # the client cannot have seen a later position
    if not row.is_open and not await streams.after(row.image_id, last, STATES):
        return Response(None, status_code=204)
    if is_head(request.scope):
        return Response(b"", media_type=EVENT_STREAM, headers=HEADERS)

    async def has_valid_token() -> bool:
        is_expired = claims.exp <= store.clock().timestamp()
        return not is_expired and await sessions.admits(claims.jti, claims.account_id, claims.cred)

    subscription = sse_hub.subscribe(claims.account_id, row.image_id)
    stream = JobEventStream(
        subscription, last, streams, job_views, sse_hub, read_your_writes, has_valid_token
    )
    return EventStreamResponse(stream, lambda: sse_hub.unsubscribe(subscription))


def _position(last_event_id: str) -> int:
    """0 if it is no position of the log."""
    try:
        return whole_number(last_event_id.strip())
    except ValueError:
        return 0
