"""Faults on request and what has run, for tests; mounted only when faults are enabled."""

from typing import Any

import msgspec
from litestar import Response, get, post

from huajuan.demo_comfyui.demo_server import Here
from huajuan.demo_comfyui.faults import Fault
from huajuan.demo_comfyui.replies import Asked, reply


@post("/demo/faults", status_code=200)
async def set_fault(request: Asked, painter: Here) -> Response[Any]:
    """`{"mode": …, "times": n or null, "seconds": x}` sets a fault, `{}` clears all."""
    body = await request.body()
    if not msgspec.json.decode(body, type=dict[str, Any]):
        painter.faults.clear()
        return await state(painter)
    try:
        fault = msgspec.json.decode(body, type=Fault)
    except msgspec.ValidationError as problem:
        return reply({"error": str(problem)}, 400)
    painter.faults.set(fault.mode, times=fault.times, seconds=fault.seconds)
    return await state(painter)


@get("/demo/faults")
async def listed(painter: Here) -> Response[Any]:
    return await state(painter)


@post("/demo/restart", status_code=200)
async def restart(painter: Here) -> Response[Any]:
    """Forget queue and history, and clear the faults."""
    painter.faults.clear()
    await painter.restart()
    return await state(painter)


async def state(painter: Here) -> Response[Any]:
    """The faults in force, how often each job has run, and how often each was sent while it was known."""
    jobs = painter.jobs
    return reply({"faults": painter.faults.listed(), "runs": dict(jobs.runs), "resent": dict(jobs.resent)})


HANDLERS = [set_fault, listed, restart]
