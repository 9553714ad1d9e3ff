"""Lookups of jobs: /queue, /history and /api/jobs."""

import asyncio
from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import FromPath, FromQuery
from litestar.types import ASGIApp

from huajuan.demo_comfyui.faults import Mode
from huajuan.demo_comfyui.jobs import Job
from huajuan.demo_comfyui.server import (
    AnyRequest,
    DemoServer,
    DemoServerState,
    empty,
    plain,
    reply,
    with_api_prefix,
)

STATUSES = {"pending", "in_progress", "completed", "failed", "cancelled"}
ORDERS = {"created_at", "execution_duration"}
HUGE_BYTES = 1024 * 1024


@get(with_api_prefix("/queue"))
async def queue(demo: DemoServerState) -> Response[Any]:
    if demo.faults.takes(Mode.LOOKUP_500):
        return plain("500 Internal Server Error", 500)
    running = demo.jobs.running
    pending = [job.item() for *_, job in demo.jobs.pending]
    return reply({"queue_running": [running.item()] if running else [], "queue_pending": pending})


@post(with_api_prefix("/queue"), status_code=200)
async def edit_queue(request: AnyRequest, demo: DemoServerState) -> ASGIApp:
    body = msgspec.json.decode(await request.body(), type=dict[str, Any])
    if body.get("clear"):
        demo.jobs.pending.clear()
    for prompt_id in body.get("delete", ()):
        demo.jobs.delete_pending(prompt_id)
    demo.hub.broadcast_status()
    return empty()


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
    job = demo.jobs.ended.get(prompt_id)
    if job is None or _is_late(job, demo):
        return reply({})
    return reply({prompt_id: job.entry()})


def _is_late(job: Job, demo: DemoServer) -> bool:
    now = asyncio.get_running_loop().time()
    if (fault := demo.faults.take(Mode.HISTORY_LATE)) is not None:
        demo.hidden_until[job.prompt_id] = now + fault.seconds
    return now < demo.hidden_until.get(job.prompt_id, 0.0)


@post(with_api_prefix("/history"), status_code=200)
async def edit_history(request: AnyRequest, demo: DemoServerState) -> ASGIApp:
    body = msgspec.json.decode(await request.body(), type=dict[str, Any])
    if body.get("clear"):
        demo.jobs.ended.clear()
    for prompt_id in body.get("delete", ()):
        demo.jobs.ended.pop(prompt_id, None)
    return empty()


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
    if not wanted <= STATUSES or sort_by not in ORDERS or sort_order not in {"asc", "desc"}:
        return reply({"error": "Invalid filter"}, 400)
    found = [job for job in demo.jobs.all() if job.status in wanted]
    found.sort(key=_duration if sort_by == "execution_duration" else _created, reverse=sort_order == "desc")
    page = found[offset:] if limit is None else found[offset : offset + limit]
    more = offset + len(page) < len(found)
    pagination = {"offset": offset, "limit": limit, "total": len(found), "has_more": more}
    return reply({"jobs": [job.summary() for job in page], "pagination": pagination})


def _created(job: Job) -> int:
    return job.created


def _duration(job: Job) -> int:
    return (job.ended or 0) - (job.started or 0)


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
    body = msgspec.json.decode(await request.body(), type=dict[str, Any])
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


HANDLERS = [queue, edit_queue, history, history_of_one, edit_history, jobs, job_by_id, cancel, cancel_many]
