"""Routes of jobs: submission at /prompt with its faults, lookups, /interrupt and /free."""

import asyncio
import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import msgspec
from litestar import Response, get, post
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import FromPath, FromQuery

from huajuan.demo_comfyui.faults import Fault, Mode
from huajuan.demo_comfyui.jobs import Job, now_ms
from huajuan.demo_comfyui.nodes import CHECKPOINT, INVALID, GraphRefused, error, missing_node, validated
from huajuan.demo_comfyui.server import (
    SERVER_ERROR,
    AnyRequest,
    DemoServer,
    DemoServerState,
    RawResponse,
    plain,
    reply,
    with_api_prefix,
)

NOT_QUEUED = (Mode.SUBMIT_500, Mode.SUBMIT_HANGS, Mode.SUBMIT_DROPPED, Mode.SUBMIT_FORBIDDEN)
QUEUED = (
    *(Mode.SUBMIT_500_QUEUED, Mode.SUBMIT_HANGS_QUEUED, Mode.SUBMIT_DROPPED_QUEUED),
    Mode.SUBMIT_GARBAGE_QUEUED,
)
STATUSES = {"pending", "in_progress", "completed", "failed", "cancelled"}
SORT_KEYS: dict[str, Callable[[Job], int]] = {
    "created_at": lambda job: job.created,
    "execution_duration": lambda job: (job.ended or 0) - (job.started or 0),
}
HUGE_BYTES = 1024 * 1024
CANONICAL_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@get(with_api_prefix("/prompt"))
async def queue_length(demo: DemoServerState) -> Response[Any]:
    return reply({"exec_info": {"queue_remaining": demo.jobs.remaining()}})


@post(with_api_prefix("/prompt"), status_code=200)
async def submit(request: AnyRequest, demo: DemoServerState) -> Response[Any]:
    posted = await _object(request)
    if (fault := demo.faults.first(*NOT_QUEUED)) is not None:
        return await _faulty_response(fault)
    try:
        response = _queued(posted, demo)
    except GraphRefused as refused:
        return reply(refused.body, 400)
    fault = demo.faults.first(*QUEUED)
    return response if fault is None else await _faulty_response(fault)


async def _faulty_response(fault: Fault) -> Response[Any]:
    if fault.mode in {Mode.SUBMIT_HANGS, Mode.SUBMIT_HANGS_QUEUED}:
        await asyncio.sleep(fault.seconds)
    if fault.mode in {Mode.SUBMIT_DROPPED, Mode.SUBMIT_DROPPED_QUEUED}:
        return RawResponse(b"{", "application/json", is_cut=True)
    if fault.mode is Mode.SUBMIT_GARBAGE_QUEUED:
        return plain("<html>please log in</html>", 200)
    if fault.mode is Mode.SUBMIT_FORBIDDEN:
        return Response(b"", status_code=403, media_type="text/plain")
    return plain(SERVER_ERROR, 500)


def _queued(posted: dict[str, Any], demo: DemoServer) -> Response[Any]:
    if "prompt" not in posted:
        raise GraphRefused(error("no_prompt", "No prompt provided", "No prompt provided"))
    prompt_id = str(posted.get("prompt_id") or uuid4())
    if not demo.faults.takes(Mode.OLD_SERVER) and not CANONICAL_ID.fullmatch(prompt_id):
        raise GraphRefused(error("invalid_prompt_id", "prompt_id must be a UUID in canonical form"))
    if demo.faults.takes(Mode.SUBMIT_OTHER_ID):
        prompt_id = str(uuid4())
    _refuse_on_request(demo)
    is_old = demo.faults.takes(Mode.OLD_SERVER)
    outputs, node_errors = validated(posted["prompt"], demo.model_files, is_old=is_old)
    _put_foreign(posted, outputs, demo)
    job = _job(posted, prompt_id, outputs, _number(posted, demo))
    try:
        demo.jobs.put(job)
    finally:
        demo.hub.broadcast_status()
    if demo.faults.takes(Mode.NODE_ERRORS_WITH_200):
        node_errors = _missing_model()
    return reply({"prompt_id": prompt_id, "number": job.number, "node_errors": node_errors})


def _job(posted: dict[str, Any], prompt_id: str, outputs: list[str], number: float) -> Job:
    extra = dict(posted.get("extra_data") or {})
    if (client_id := posted.get("client_id")) is not None:
        extra["client_id"] = client_id
    extra["create_time"] = now = now_ms()
    return Job(number, prompt_id, posted["prompt"], extra, outputs, created=now)


def _number(posted: dict[str, Any], demo: DemoServer) -> float:
    if "number" in posted:
        return float(posted["number"])
    number = demo.jobs.next_number()
    return -number if posted.get("front") else number


def _refuse_on_request(demo: DemoServer) -> None:
    if demo.faults.takes(Mode.MISSING_MODEL):
        raise GraphRefused(error(*INVALID), _missing_model())
    fault = demo.faults.first(Mode.MISSING_NODE, Mode.MISSING_NODE_OLD)
    if fault is not None:
        raise GraphRefused(missing_node("9", "SuperSampler", is_old=fault.mode is Mode.MISSING_NODE_OLD))


def _missing_model() -> dict[str, Any]:
    gone = "gone.safetensors"
    extra = {"input_name": "ckpt_name", "input_config": [[CHECKPOINT], {}], "received_value": gone}
    wrong = error("value_not_in_list", "Value not in list", f"/srv/secret: {gone!r} not in list", extra)
    return {"1": {"errors": [wrong], "dependent_outputs": ["9"], "class_type": "CheckpointLoaderSimple"}}


def _put_foreign(posted: dict[str, Any], outputs: list[str], demo: DemoServer) -> None:
    fault = demo.faults.take(Mode.FOREIGN_JOBS)
    for _ in range(int(fault.seconds) if fault is not None else 0):
        foreign = {"prompt": posted["prompt"], "client_id": str(uuid4())}
        demo.jobs.put(_job(foreign, str(uuid4()), outputs, demo.jobs.next_number()))


@post(with_api_prefix("/interrupt"), status_code=200)
async def interrupt(request: AnyRequest, demo: DemoServerState) -> RawResponse:
    """Stop the running job. If an id is given, only that one."""
    body = await _object(request, may_be_empty=True)
    running = demo.jobs.running
    if running is not None and body.get("prompt_id", running.prompt_id) == running.prompt_id:
        running.stop.set()
    return RawResponse()


@post(with_api_prefix("/free"), status_code=200)
async def free(request: AnyRequest, demo: DemoServerState) -> RawResponse:
    if (await _object(request, may_be_empty=True)).get("free_memory"):
        demo.worker.drop_cache()
    return RawResponse()


@get(with_api_prefix("/queue"))
async def queue(demo: DemoServerState) -> Response[Any]:
    if demo.faults.takes(Mode.LOOKUP_500):
        return plain("500 Internal Server Error", 500)
    running = demo.jobs.running
    pending = [job.item() for *_, job in demo.jobs.pending]
    return reply({"queue_running": [running.item()] if running else [], "queue_pending": pending})


@post(with_api_prefix("/queue"), status_code=200)
async def edit_queue(request: AnyRequest, demo: DemoServerState) -> RawResponse:
    body = await _object(request)
    if body.get("clear"):
        demo.jobs.pending.clear()
    for prompt_id in body.get("delete", ()):
        demo.jobs.delete_pending(prompt_id)
    demo.hub.broadcast_status()
    return RawResponse()


@get(with_api_prefix("/history"))
async def history(
    demo: DemoServerState, max_items: FromQuery[int | None] = None, offset: FromQuery[int] = -1
) -> Response[Any]:
    ended = list(demo.jobs.ended.items())
    count = len(ended) if max_items is None else max_items
    start = max(0, len(ended) - count) if offset < 0 else offset
    return reply({prompt_id: job.entry() for prompt_id, job in ended[start : start + count]})


@get(with_api_prefix("/history/{prompt_id:str}"))
async def history_of_one(prompt_id: FromPath[str], demo: DemoServerState) -> Response[Any]:
    if demo.faults.takes(Mode.HISTORY_HUGE):
        return reply({"filler": "x" * HUGE_BYTES})
    job, now = demo.jobs.ended.get(prompt_id), asyncio.get_running_loop().time()
    if job is not None and (fault := demo.faults.take(Mode.HISTORY_LATE)) is not None:
        demo.hidden_until[prompt_id] = now + fault.seconds
    if job is None or now < demo.hidden_until.get(prompt_id, 0.0):
        return reply({})
    return reply({prompt_id: job.entry()})


@post(with_api_prefix("/history"), status_code=200)
async def edit_history(request: AnyRequest, demo: DemoServerState) -> RawResponse:
    body = await _object(request)
    if body.get("clear"):
        demo.jobs.ended.clear()
    for prompt_id in body.get("delete", ()):
        demo.jobs.ended.pop(prompt_id, None)
    return RawResponse()


@get("/api/jobs")
async def jobs(
    demo: DemoServerState,
    status: FromQuery[str] = "",
    sort_by: FromQuery[str] = "created_at",
    sort_order: FromQuery[str] = "desc",
    limit: FromQuery[int | None] = None,
    offset: FromQuery[int] = 0,
) -> Response[Any]:
    """All jobs, filtered, sorted and paged."""
    _check_version(demo)
    wanted = set(filter(None, status.split(","))) or STATUSES
    if not wanted <= STATUSES or sort_by not in SORT_KEYS or sort_order not in {"asc", "desc"}:
        return reply({"error": "Invalid filter"}, 400)
    found = [job for job in demo.jobs.all() if job.status in wanted]
    found.sort(key=SORT_KEYS[sort_by], reverse=sort_order == "desc")
    page = found[offset:] if limit is None else found[offset : offset + limit]
    more = offset + len(page) < len(found)
    pagination = {"offset": offset, "limit": limit, "total": len(found), "has_more": more}
    return reply({"jobs": [job.summary() for job in page], "pagination": pagination})


@get("/api/jobs/{prompt_id:str}")
async def job_by_id(prompt_id: FromPath[str], demo: DemoServerState) -> Response[Any]:
    _check_version(demo)
    if demo.faults.takes(Mode.LOOKUP_500):
        return plain("500 Internal Server Error", 500)
    job = demo.jobs.find(prompt_id)
    return reply({"error": "Job not found"}, 404) if job is None else reply(job.details())


@post("/api/jobs/{prompt_id:str}/cancel", status_code=200)
async def cancel(prompt_id: FromPath[str], demo: DemoServerState) -> Response[Any]:
    if demo.faults.takes(Mode.OLD_SERVER):
        raise HTTPException(status_code=405)
    return reply({"cancelled": _cancelled(prompt_id, demo)})


@post("/api/jobs/cancel", status_code=200)
async def cancel_many(request: AnyRequest, demo: DemoServerState) -> Response[Any]:
    body = await _object(request)
    return reply({"cancelled": [name for name in body.get("job_ids", ()) if _cancelled(name, demo)]})


def _cancelled(prompt_id: str, demo: DemoServer) -> bool:
    running = demo.jobs.running
    if running is not None and running.prompt_id == prompt_id:
        running.stop.set()
        return True
    found = demo.jobs.delete_pending(prompt_id)
    demo.hub.broadcast_status()
    return found


def _check_version(demo: DemoServer) -> None:
    if demo.faults.takes(Mode.OLD_SERVER):
        raise NotFoundException


async def _object(request: AnyRequest, *, may_be_empty: bool = False) -> dict[str, Any]:
    body = await request.body()
    return {} if may_be_empty and not body else msgspec.json.decode(body, type=dict[str, Any])


HANDLERS = [
    *(queue_length, submit, interrupt, free, queue, edit_queue, history, history_of_one, edit_history),
    *(jobs, job_by_id, cancel, cancel_many),
]
