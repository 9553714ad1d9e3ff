"""POST and GET /prompt, with the faults of submission; /interrupt and /free."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import msgspec
from litestar import Response, get, post
from litestar.types import ASGIApp

from huajuan.demo_comfyui.faults import Fault, Mode
from huajuan.demo_comfyui.jobs import Job, now_ms
from huajuan.demo_comfyui.nodes import CHECKPOINT
from huajuan.demo_comfyui.server import (
    AnyRequest,
    DemoServer,
    DemoServerState,
    TruncatedResponse,
    empty,
    plain,
    reply,
    with_api_prefix,
)
from huajuan.demo_comfyui.validation import GraphRefused, error, missing_node, validated

SERVER_ERROR = "500 Internal Server Error\n\nServer got itself in trouble"
NOT_QUEUED = (Mode.SUBMIT_500, Mode.SUBMIT_HANGS, Mode.SUBMIT_DROPPED, Mode.SUBMIT_FORBIDDEN)
QUEUED = (
    *(Mode.SUBMIT_500_QUEUED, Mode.SUBMIT_HANGS_QUEUED, Mode.SUBMIT_DROPPED_QUEUED),
    Mode.SUBMIT_GARBAGE_QUEUED,
)


@get(with_api_prefix("/prompt"))
async def queue_length(demo: DemoServerState) -> Response[Any]:
    return reply({"exec_info": {"queue_remaining": demo.jobs.remaining()}})


@post(with_api_prefix("/prompt"), status_code=200)
async def submit(request: AnyRequest, demo: DemoServerState) -> Response[Any]:
    posted = msgspec.json.decode(await request.body(), type=dict[str, Any])
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
        return TruncatedResponse(b"{", media_type="application/json")
    if fault.mode is Mode.SUBMIT_GARBAGE_QUEUED:
        return plain("<html>please log in</html>", 200)
    if fault.mode is Mode.SUBMIT_FORBIDDEN:
        return Response(b"", status_code=403, media_type="text/plain")
    return plain(SERVER_ERROR, 500)


def _queued(posted: dict[str, Any], demo: DemoServer) -> Response[Any]:
    if "prompt" not in posted:
        raise GraphRefused(error("no_prompt", "No prompt provided", "No prompt provided"))
    prompt_id = _prompt_id(posted, is_old=_is_old(demo))
    if demo.faults.takes(Mode.SUBMIT_OTHER_ID):
        prompt_id = str(uuid4())
    _refuse_on_request(demo)
    outputs, node_errors = validated(posted["prompt"], demo.model_files, is_old=_is_old(demo))
    _put_foreign(posted, outputs, demo)
    job = _job(posted, prompt_id, outputs, _number(posted, demo))
    _put(job, demo)
    if demo.faults.takes(Mode.NODE_ERRORS_WITH_200):
        node_errors = _missing_model()
    return reply({"prompt_id": prompt_id, "number": job.number, "node_errors": node_errors})


def _put(job: Job, demo: DemoServer) -> None:
    try:
        demo.jobs.put(job)
    finally:
        demo.hub.broadcast_status()


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


def _number(posted: dict[str, Any], demo: DemoServer) -> float:
    if "number" in posted:
        return float(posted["number"])
    number = demo.jobs.next_number()
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


def _is_old(demo: DemoServer) -> bool:
    return demo.faults.takes(Mode.OLD_SERVER)


def _refuse_on_request(demo: DemoServer) -> None:
    if demo.faults.takes(Mode.MISSING_MODEL):
        message = "Prompt outputs failed validation"
        raise GraphRefused(error("prompt_outputs_failed_validation", message), _missing_model())
    fault = demo.faults.first(Mode.MISSING_NODE, Mode.MISSING_NODE_OLD)
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


def _put_foreign(posted: dict[str, Any], outputs: list[str], demo: DemoServer) -> None:
    fault = demo.faults.take(Mode.FOREIGN_JOBS)
    for _ in range(int(fault.seconds) if fault is not None else 0):
        foreign = {"prompt": posted["prompt"], "client_id": str(uuid4())}
        demo.jobs.put(_job(foreign, str(uuid4()), outputs, demo.jobs.next_number()))


@post(with_api_prefix("/interrupt"), status_code=200)
async def interrupt(request: AnyRequest, demo: DemoServerState) -> ASGIApp:
    """Stop the running job. If an id is given, only that one."""
    body = _object(await request.body())
    running = demo.jobs.running
    if running is not None and body.get("prompt_id", running.prompt_id) == running.prompt_id:
        running.stop.set()
    return empty()


@post(with_api_prefix("/free"), status_code=200)
async def free(request: AnyRequest, demo: DemoServerState) -> ASGIApp:
    if _object(await request.body()).get("free_memory"):
        demo.worker.drop_cache()
    return empty()


def _object(body: bytes) -> dict[str, Any]:
    return msgspec.json.decode(body, type=dict[str, Any]) if body else {}


HANDLERS = [queue_length, submit, interrupt, free]
