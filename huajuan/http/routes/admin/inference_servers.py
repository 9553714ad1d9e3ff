"""Admins say which painters draw, while they draw."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Any

import msgspec
from litestar import Request, get, post

from huajuan.commands.add_painter import add_painter
from huajuan.commands.remove_painter import remove_painter
from huajuan.domain.inference_servers import Studio
from huajuan.domain.refusals import AlreadyPainter, NotPainter, PainterAddressSecret, PainterUnfit
from huajuan.domain.server_address import URL_CHARACTERS_MAX
from huajuan.event_store.after_commit import after_commit
from huajuan.event_store.store import Decided, EventStore
from huajuan.http import messages
from huajuan.http.errors import Answers, Refusal, answering
from huajuan.http.openapi.operations import BUSY, NO_TOKEN, TOO_LARGE, Detailed, Said, replies, takes
from huajuan.http.reasons import REASON_REFUSALS, Reason, reason_in
from huajuan.http.request_body import Unreadable, malformed, read_form
from huajuan.http.routes.admin.projections import FORBIDDEN
from huajuan.http.services import AtDesk, Desk
from huajuan.jobs.servers import Painter, ServerState

Act = Callable[[EventStore, str, Iterable[str], str], Awaitable[Decided]]


class PainterForm(msgspec.Struct):
    """A painter's address, and why it is to draw, or to draw no more."""

    url: Annotated[str, msgspec.Meta(max_length=URL_CHARACTERS_MAX)]
    reason: Reason = ""


class PainterOnWire(msgspec.Struct):
    """How a painter has been doing, as this process has seen it.

    `answers` is null before it was asked, `proven` says that its last job succeeded; `rests_seconds` is for how
    long it gets no job. `problems` are what of the workflow does not fit it, by node and input; null before that was
    tried. `state` is `ready`, `cooldown` (it gets one job at a time until one succeeds), `unreachable` or `unfit` (it
    lacks what the workflow needs, or refused it); `reason` says why it is not ready.
    """

    url: str
    answers: bool | None
    proven: bool
    rests_seconds: float
    problems: list[str] | None
    state: ServerState
    reason: str | None


class PaintersReply(Said, kw_only=True):
    """All painters that may get jobs, and how many jobs wait."""

    painters: list[PainterOnWire]
    waiting: int


_EXAMPLE: dict[str, Any] = {
    "message": messages.WELL,
    "painters": [
        {
            "url": "http://gpu-2:8188",
            "answers": True,
            "proven": True,
            "rests_seconds": 0.0,
            "problems": [],
            "state": "ready",
            "reason": None,
        },
        {
            "url": "http://gpu-3:8188",
            "answers": True,
            "proven": False,
            "rests_seconds": 3.5,
            "problems": [],
            "state": "cooldown",
            "reason": "the server failed while drawing, in KSampler",
        },
    ],
    "waiting": 3,
}
_ANSWERS: Answers = {
    Unreadable: malformed(),
    PainterUnfit: Refusal(400, message=messages.PAINTER_UNFIT),
    PainterAddressSecret: Refusal(400, message=messages.PAINTER_ADDRESS_SECRET),
    AlreadyPainter: Refusal(409, message=messages.ALREADY_PAINTER),
    NotPainter: Refusal(404, message=messages.NOT_PAINTER),
}


_SEEN: dict[int, Any] = {
    200: (PaintersReply, [_EXAMPLE]),
    401: (Said, NO_TOKEN),
    403: (Said, FORBIDDEN),
    503: (Said, BUSY),
}


def _act_replies(status: int, text: str) -> Any:
    texts = (messages.MALFORMED, messages.PAINTER_UNFIT, messages.PAINTER_ADDRESS_SECRET)
    refused: dict[int, Any] = {
        400: (Detailed, [*({"message": each} for each in texts), *REASON_REFUSALS]),
        status: (Said, [{"message": text}]),
        413: (Said, TOO_LARGE),
    }
    return replies(dict(sorted((_SEEN | refused).items())))


_FORM = takes(PainterForm, {"url": "http://gpu-2:8188", "reason": "more to draw"}, "reason")


@get("/admin/painters", tags=["Admin"], operation_id="ListPainters", responses=replies(_SEEN))
async def painters(desk: AtDesk) -> PaintersReply:
    """The painters that may get jobs, and how they have been doing."""
    return await _painters(desk)


@post(
    "/admin/painters",
    tags=["Admin"],
    status_code=200,
    operation_id="AddPainter",
    operation_class=_FORM,
    responses=_act_replies(409, messages.ALREADY_PAINTER),
)
async def add(request: Request[Any, Any, Any], desk: AtDesk) -> PaintersReply:
    """Have one more painter draw, in every process, without a restart."""
    return await _acted(request, desk, add_painter)


@post(
    "/admin/painters/remove",
    tags=["Admin"],
    status_code=200,
    operation_id="RemovePainter",
    operation_class=_FORM,
    responses=_act_replies(404, messages.NOT_PAINTER),
)
async def remove(request: Request[Any, Any, Any], desk: AtDesk) -> PaintersReply:
    """Have a painter get no more jobs. It ends those that it has."""
    return await _acted(request, desk, remove_painter)


async def _acted(request: Request[Any, Any, Any], desk: AtDesk, command: Act) -> PaintersReply:
    painters = desk.room.painters
    with answering(_ANSWERS):
        form = await read_form(request, PainterForm)
        waiting = await desk.room.queue.waiting()
        decided = await command(desk.store, form.url, painters.configured, reason_in(form))
    studio: Studio = decided.aggregates[0]
    with after_commit("painters of this process"):
        await painters.become(studio.painters(painters.configured))
    return _listed(desk, waiting)


async def _painters(desk: Desk) -> PaintersReply:
    await desk.dispatcher.learn_painters()
    return _listed(desk, await desk.room.queue.waiting())


def _listed(desk: Desk, waiting: int) -> PaintersReply:
    known = [_on_wire(painter) for painter in desk.room.painters.all.values()]
    return PaintersReply(code=200, message=messages.WELL, painters=known, waiting=waiting)


def _on_wire(painter: Painter) -> PainterOnWire:
    proven = painter.has_drawn and painter.is_proven
    rests_seconds = round(painter.rest_seconds, 3)
    return PainterOnWire(
        painter.url,
        painter.answers,
        proven,
        rests_seconds,
        painter.problems,
        painter.state,
        painter.reason,
    )
