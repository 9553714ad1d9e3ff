"""POST and GET /prompt: how jobs come in, soundly or as the faults have it."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import msgspec
from litestar import Response, get, post
from litestar.types import ASGIApp

from huajuan.demo_comfyui.demo_server import Here, Painter
from huajuan.demo_comfyui.faults import Fault, Mode
from huajuan.demo_comfyui.jobs import Job, now_ms
from huajuan.demo_comfyui.nodes import CHECKPOINT
from huajuan.demo_comfyui.replies import Asked, BrokenOff, both, empty, plain, reply
from huajuan.demo_comfyui.validation import GraphRefused, error, missing_node, validated

ENDLESS = "500 Internal Server Error\n\nServer got itself in trouble"
NOT_QUEUED = (Mode.SUBMIT_500, Mode.SUBMIT_HANGS, Mode.SUBMIT_DROPPED, Mode.SUBMIT_FORBIDDEN)
QUEUED = (
    *(Mode.SUBMIT_500_QUEUED, Mode.SUBMIT_HANGS_QUEUED, Mode.SUBMIT_DROPPED_QUEUED),
    Mode.SUBMIT_GARBAGE_QUEUED,
)


@get(both("/prompt"))
async def queue_length(painter: Here) -> Response[Any]:
    return reply({"exec_info": {"queue_remaining": painter.jobs.remaining()}})


@post(both("/prompt"), status_code=200)
async def submit(request: Asked, painter: Here) -> Response[Any]:
    posted = msgspec.json.decode(await request.body(), type=dict[str, Any])
    if (fault := painter.faults.first(*NOT_QUEUED)) is not None:
        return await _misbehaved(fault)
    try:
        answer = _queued(posted, painter)
    except GraphRefused as refused:
        return reply(refused.body, 400)
    fault = painter.faults.first(*QUEUED)
    return answer if fault is None else await _misbehaved(fault)


async def _misbehaved(fault: Fault) -> Response[Any]:
    if fault.mode in {Mode.SUBMIT_HANGS, Mode.SUBMIT_HANGS_QUEUED}:
        await asyncio.sleep(fault.seconds)
    if fault.mode in {Mode.SUBMIT_DROPPED, Mode.SUBMIT_DROPPED_QUEUED}:
        return BrokenOff(b"{", media_type="application/json")
    if fault.mode is Mode.SUBMIT_GARBAGE_QUEUED:
        return plain("<html>please log in</html>", 200)
    if fault.mode is Mode.SUBMIT_FORBIDDEN:
        return Response(b"", status_code=403, media_type="text/plain")
    return plain(ENDLESS, 500)


def _queued(posted: dict[str, Any], painter: Painter) -> Response[Any]:
    if "prompt" not in posted:
        raise GraphRefused(error("no_prompt", "No prompt provided", "No prompt provided"))
    prompt_id = _prompt_id(posted, is_old=_is_old(painter))
    if painter.faults.takes(Mode.SUBMIT_OTHER_ID):
        prompt_id = str(uuid4())
    _refuse_on_request(painter)
    outputs, node_errors = validated(posted["prompt"], painter.stock, is_old=_is_old(painter))
    _put_foreign(posted, outputs, painter)
    job = _job(posted, prompt_id, outputs, _number(posted, painter))
    _put(job, painter)
    if painter.faults.takes(Mode.NODE_ERRORS_WITH_200):
        node_errors = _missing_model()
    return reply({"prompt_id": prompt_id, "number": job.number, "node_errors": node_errors})


def _put(job: Job, painter: Painter) -> None:
    try:
        painter.jobs.put(job)
    finally:
        painter.hub.broadcast_status()


def _job(posted: dict[str, Any], prompt_id: str, outputs: list[str], number: float) -> Job:
    extra = dict(posted.get("extra_data") or {})
    if (client_id := posted.get("client_id")) is not None:
        extra["client_id"] = client_id
    return Job(
        number=number,
        prompt_id=prompt_id,
        graph=posted["prompt"],
        extra_data=extra | {"create_time": now_ms()},
        outputs_wanted=outputs,
        created=now_ms(),
    )


def _number(posted: dict[str, Any], painter: Painter) -> float:
    if "number" in posted:
        return float(posted["number"])
    number = painter.jobs.next_number()
    return -number if posted.get("front") else number


def _prompt_id(posted: dict[str, Any], *, is_old: bool) -> str:
    prompt_id = str(posted.get("prompt_id") or uuid4())
    if not is_old and not _is_canonical(prompt_id):
        raise GraphRefused(error("invalid_prompt_id", "prompt_id must be a UUID in canonical form"))
    return prompt_id


def _is_canonical(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _is_old(painter: Painter) -> bool:
    return painter.faults.takes(Mode.OLD_SERVER)


def _refuse_on_request(painter: Painter) -> None:
    if painter.faults.takes(Mode.MISSING_MODEL):
        message = "Prompt outputs failed validation"
        raise GraphRefused(error("prompt_outputs_failed_validation", message), _missing_model())
    fault = painter.faults.first(Mode.MISSING_NODE, Mode.MISSING_NODE_OLD)
    if fault is not None:
        raise GraphRefused(missing_node("9", "SuperSampler", is_old=fault.mode is Mode.MISSING_NODE_OLD))


def _missing_model() -> dict[str, Any]:
    extra = {
        "input_name": "ckpt_name",
        "input_config": [[CHECKPOINT], {}],
        "received_value": "gone.safetensors",
    }
    wrong = error(
        "value_not_in_list", "Value not in list", "/srv/secret: 'gone.safetensors' not in list", extra
    )
    return {"1": {"errors": [wrong], "dependent_outputs": ["9"], "class_type": "CheckpointLoaderSimple"}}


def _put_foreign(posted: dict[str, Any], outputs: list[str], painter: Painter) -> None:
    fault = painter.faults.take(Mode.FOREIGN_JOBS)
    for _ in range(int(fault.seconds) if fault is not None else 0):
        foreign = {"prompt": posted["prompt"], "client_id": str(uuid4())}
        painter.jobs.put(_job(foreign, str(uuid4()), outputs, painter.jobs.next_number()))


@post(both("/interrupt"), status_code=200)
async def interrupt(request: Asked, painter: Here) -> ASGIApp:
    """Stop the running job; with an id, only if it is that one."""
    asked = _object(await request.body())
    running = painter.jobs.running
    if running is not None and asked.get("prompt_id", running.prompt_id) == running.prompt_id:
        running.stop.set()
    return empty()


@post(both("/free"), status_code=200)
async def free(request: Asked, painter: Here) -> ASGIApp:
    if _object(await request.body()).get("free_memory"):
        painter.worker.drop_cache()
    return empty()


def _object(body: bytes) -> dict[str, Any]:
    return msgspec.json.decode(body, type=dict[str, Any]) if body else {}


HANDLERS = [queue_length, submit, interrupt, free]
