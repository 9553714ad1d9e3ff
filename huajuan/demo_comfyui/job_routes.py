"""Where jobs are: /queue, /history and /api/jobs."""

import asyncio
from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import FromPath, FromQuery
from litestar.types import ASGIApp

from huajuan.demo_comfyui.demo_server import Here, Painter
from huajuan.demo_comfyui.faults import Mode
from huajuan.demo_comfyui.jobs import Job
from huajuan.demo_comfyui.replies import Asked, both, empty, plain, reply

STATUSES = {"pending", "in_progress", "completed", "failed", "cancelled"}
ORDERS = {"created_at", "execution_duration"}
HUGE_BYTES = 1024 * 1024


@get(both("/queue"))
async def queue(painter: Here) -> Response[Any]:
    if painter.faults.takes(Mode.LOOKUP_500):
        return plain("500 Internal Server Error", 500)
    running = painter.jobs.running
    pending = [job.item() for *_, job in painter.jobs.pending]
    return reply({"queue_running": [running.item()] if running else [], "queue_pending": pending})


@post(both("/queue"), status_code=200)
async def edit_queue(request: Asked, painter: Here) -> ASGIApp:
    asked = msgspec.json.decode(await request.body(), type=dict[str, Any])
    if asked.get("clear"):
        painter.jobs.pending.clear()
    for prompt_id in asked.get("delete", ()):
        painter.jobs.delete_pending(prompt_id)
    painter.hub.broadcast_status()
    return empty()


@get(both("/history"))
async def history(
    painter: Here, max_items: FromQuery[int | None] = None, offset: FromQuery[int] = -1
) -> Response[Any]:
    ended = list(painter.jobs.ended.items())
    count = len(ended) if max_items is None else max_items
    start = max(0, len(ended) - count) if offset < 0 else offset
    return reply({prompt_id: job.entry() for prompt_id, job in ended[start : start + count]})


@get(both("/history/{prompt_id:str}"))
async def history_of_one(prompt_id: FromPath[str], painter: Here) -> Response[Any]:
    if painter.faults.takes(Mode.HISTORY_HUGE):
        return reply({"filler": "x" * HUGE_BYTES})
    job = painter.jobs.ended.get(prompt_id)
    if job is None or _is_late(job, painter):
        return reply({})
    return reply({prompt_id: job.entry()})


def _is_late(job: Job, painter: Painter) -> bool:
    now = asyncio.get_running_loop().time()
    if (fault := painter.faults.take(Mode.HISTORY_LATE)) is not None:
        painter.hidden_until[job.prompt_id] = now + fault.seconds
    return now < painter.hidden_until.get(job.prompt_id, 0.0)


@post(both("/history"), status_code=200)
async def edit_history(request: Asked, painter: Here) -> ASGIApp:
    asked = msgspec.json.decode(await request.body(), type=dict[str, Any])
    if asked.get("clear"):
        painter.jobs.ended.clear()
    for prompt_id in asked.get("delete", ()):
        painter.jobs.ended.pop(prompt_id, None)
    return empty()


@get("/api/jobs")
async def jobs(
    painter: Here,
    status: FromQuery[str] = "",
    sort_by: FromQuery[str] = "created_at",
    sort_order: FromQuery[str] = "desc",
    limit: FromQuery[int | None] = None,
    offset: FromQuery[int] = 0,
) -> Response[Any]:
    """All jobs in any state, filtered, sorted and cut."""
    _check_age(painter)
    wanted = set(filter(None, status.split(","))) or STATUSES
    if not wanted <= STATUSES or sort_by not in ORDERS or sort_order not in {"asc", "desc"}:
        return reply({"error": "Invalid filter"}, 400)
    found = [job for job in painter.jobs.all() if job.status in wanted]
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
async def job_by_id(prompt_id: FromPath[str], painter: Here) -> Response[Any]:
    _check_age(painter)
    if painter.faults.takes(Mode.LOOKUP_500):
        return plain("500 Internal Server Error", 500)
    job = painter.jobs.find(prompt_id)
    return reply({"error": "Job not found"}, 404) if job is None else reply(job.details())


@post("/api/jobs/{prompt_id:str}/cancel", status_code=200)
async def cancel(prompt_id: FromPath[str], painter: Here) -> Response[Any]:
    if painter.faults.takes(Mode.OLD_SERVER):
        raise HTTPException(status_code=405)
    return reply({"cancelled": _cancelled(prompt_id, painter)})


@post("/api/jobs/cancel", status_code=200)
async def cancel_many(request: Asked, painter: Here) -> Response[Any]:
    asked = msgspec.json.decode(await request.body(), type=dict[str, Any])
    return reply({"cancelled": [name for name in asked.get("job_ids", ()) if _cancelled(name, painter)]})


def _cancelled(prompt_id: str, painter: Painter) -> bool:
    running = painter.jobs.running
    if running is not None and running.prompt_id == prompt_id:
        running.stop.set()
        return True
    found = painter.jobs.delete_pending(prompt_id)
    painter.hub.broadcast_status()
    return found


def _check_age(painter: Painter) -> None:
    if painter.faults.takes(Mode.OLD_SERVER):
        raise NotFoundException


HANDLERS = [queue, edit_queue, history, history_of_one, edit_history, jobs, job_by_id, cancel, cancel_many]
