"""A job as it goes on: its states from the log, each once, and its progress in between, as server-sent events."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import structlog
from litestar import Request, Response, get
from litestar.enums import ParamType
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, Parameter
from litestar.params import FromPath
from litestar.response import Stream
from litestar.types import Receive, Scope, Send

from huajuan.auth.tokens import Claims, Me
from huajuan.domain.image import Image
from huajuan.event_store.errors import LogError
from huajuan.http import messages
from huajuan.http.errors import RETRY_AFTER_SECONDS, Answers, Refusal, answering
from huajuan.http.generation_status import (
    EXAMPLE_QUEUED,
    PATH,
    job_on_wire,
    mean_seconds,
    on_record,
    standing,
)
from huajuan.http.middleware.head_requests import is_head
from huajuan.http.openapi.json_schemas import NUMBER, schema_of
from huajuan.http.openapi.operations import BUSY, NO_TOKEN, Exact, Said, replies
from huajuan.http.query_params import whole_number
from huajuan.http.routes.generations import JOB_ANSWERS, NO_SUCH_JOB
from huajuan.http.services import AtDesk, Desk
from huajuan.http.sse_hub import Follower, TooManyFollowers
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
_logger = structlog.get_logger(__name__)


class Following:
    """One client that follows one job, behind the position `last` that it has seen."""

    def __init__(self, desk: Desk, me: Claims, follower: Follower, last: int) -> None:
        self._desk, self._me, self._follower, self._last = desk, me, follower, last
        self._limits = desk.followers.limits
        self._row: GenerationRow | None = None
        self._mean_seconds: float | None = None
        self._shown: tuple[int | None, float] | None = None
        self._spoke_at = self._looked_at = 0.0

    async def frames(self) -> AsyncGenerator[bytes]:
        """Until the job's end has been told, or nobody may listen any more."""
        try:
            for frame in await self._news():
                yield frame
            while self._row is not None and self._row.is_open and await self._may_stay():
                for frame in await self._signs_of_life():
                    yield frame
                if await self._follower.wait(self._limits.look_seconds):
                    for frame in await self._news():
                        yield frame
        except LogError as error:
            # The client comes back and says what it saw last.
            _logger.warning("a stream ends early", error=type(error).__name__)

    async def _news(self) -> list[bytes]:
        """The states that came since the last look. They are told when the tables show what they promise."""
        told = await self._desk.streams.after(
            self._follower.stream, self._follower.position, GENERATIONS.topics
        )
        frames = []
        for recorded in told:
            self._row = fold_generation(self._row, [recorded])
            self._follower.position = recorded.position
            if self._row and recorded.position > self._last and recorded.event.TOPIC in STATES:
                frames.append(self._state(recorded.position, self._row))
        if frames:
            await self._desk.show(
                self._follower.position, GENERATIONS, HISTORY, POINT_BALANCES, POINT_HISTORY
            )
            self._mean_seconds = await mean_seconds(self._desk)
        return frames

    def _state(self, position: int, row: GenerationRow) -> bytes:
        """The same bytes whenever it is told: where the job stands in the queue is no part of it."""
        job = job_on_wire(row, standing(row, None, None, row.asked_at), self._desk.settings.public_address)
        return b"id: %d\n" % position + self._frame(b"state", job)

    async def _signs_of_life(self) -> list[bytes]:
        """Progress where there is some, at most one in `look_seconds`; else, after a while, a heartbeat."""
        now = asyncio.get_running_loop().time()
        if self._row is None or now - self._looked_at < self._limits.look_seconds:
            return []
        self._looked_at = now
        place = await self._desk.queue.place(self._follower.stream)
        stands = standing(self._row, place, self._mean_seconds, self._desk.store.clock())
        if self._shown != (stands.position, stands.progress):
            self._shown = stands.position, stands.progress
            return [self._frame(b"progress", stands)]
        if now - self._spoke_at < self._limits.heartbeat_seconds:
            return []
        self._spoke_at = now
        return [HEARTBEAT]

    def _frame(self, event: bytes, data: msgspec.Struct) -> bytes:
        self._spoke_at = asyncio.get_running_loop().time()
        return b"event: %b\ndata: %b\n\n" % (event, msgspec.json.encode(data))

    async def _may_stay(self) -> bool:
        """Not when the process stops, nor with a token that is worth nothing any more."""
        me = self._me
        if self._desk.followers.is_stopping or me.exp <= self._desk.store.clock().timestamp():
            return False
        return await self._desk.sessions.admits(me.jti, me.account_id, me.cred)


class EventStream(Stream):
    """Frees the follower's place however it ends, even before the first frame."""

    def __init__(self, following: Following, leave: Callable[[], None]) -> None:
        self._frames, self._leave = following.frames(), leave
        super().__init__(self._frames, media_type=EVENT_STREAM, headers=HEADERS)

    def to_asgi_response(self, *args: Any, **kwargs: Any) -> Any:
        send_frames = super().to_asgi_response(*args, **kwargs)

        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                async with aclosing(self._frames):
                    await send_frames(scope, receive, send)
            finally:
                self._leave()

        return respond


EVENTS_ANSWERS: Answers = {
    **JOB_ANSWERS,
    TooManyFollowers: Refusal(429, {"Retry-After": RETRY_AFTER_SECONDS}, message=messages.TOO_MANY_REQUESTS),
}
_FRAMES = {
    "type": "string",
    "description": (
        "Frames as the HTML standard has them, each ended by an empty line. `event: state` has an `id` and as `data` "
        "the job, a `JobOnWire` in JSON; `event: progress` has no `id` and as `data` a `JobProgress`. A line that "
        "begins with a colon says only that the stream is alive. The stream ends behind the state in which the job "
        "ended."
    ),
}
_EXAMPLE = (
    f"id: 8\nevent: state\ndata: {msgspec.json.encode(EXAMPLE_QUEUED).decode()}\n\n"
    'event: progress\ndata: {"position":1,"eta_seconds":6.5,"progress":0.0}\n\n'
)


@dataclass
class _EventsOperation(Exact):
    """The frames of the stream, and where one goes on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.parameters = [*(self.parameters or ()), _LAST_EVENT_ID]
        if self.responses:
            content = OpenAPIMediaType(schema=schema_of(_FRAMES), example=_EXAMPLE)
            cast("OpenAPIResponse", self.responses["200"]).content = {EVENT_STREAM: content}


_LAST_EVENT_ID = Parameter(
    "Last-Event-ID",
    ParamType.HEADER.value,
    description="The `id` of the last frame seen: only later states are sent.",
    schema=schema_of(NUMBER),
)


@get(
    f"{PATH}/{{generation:str}}/events",
    tags=["Drawing"],
    media_type=EVENT_STREAM,
    operation_id="FollowGeneration",
    operation_class=_EventsOperation,
    responses={
        200: ResponseSpec(str, description="The frames.", media_type=EVENT_STREAM, generate_examples=False),
        204: ResponseSpec(None, description="Nothing will come any more.", generate_examples=False),
        **replies(
            {
                401: (Said, NO_TOKEN),
                404: NO_SUCH_JOB,
                429: (Said, [{"message": messages.TOO_MANY_REQUESTS}]),
                503: (Said, BUSY),
            }
        ),
    },
)
async def generation_events(
    request: Request[Any, Any, Any], generation: FromPath[str], me: Me, desk: AtDesk
) -> Response[Any]:
    """A job's states as they come, as server-sent events, and its progress in between.

    `state` frames carry their position in the log as `id`: a client that comes back with `Last-Event-ID` gets
    what came after it, each state once. `progress` frames have no `id`. The stream ends with the job.
    """
    last = _position(request.headers.get("last-event-id", ""))
    with answering(EVENTS_ANSWERS):
        row, newest = await on_record(desk, generation, me.account_id)
        last = last if last <= newest else 0  # nobody has seen what is not there yet
        if not row.is_open and not await desk.streams.after(row.image_id, last, STATES):
            return Response(None, status_code=204)
        if is_head(request.scope):
            return Response(b"", media_type=EVENT_STREAM, headers=HEADERS)
        follower = desk.followers.enter(me.account_id, row.image_id)
    return EventStream(Following(desk, me, follower, last), lambda: desk.followers.leave(follower))


def _position(last_event_id: str) -> int:
    """What is no position of the log counts as not given."""
    try:
        return whole_number(last_event_id.strip())
    except ValueError:
        return 0
