"""Inference servers: list, add and remove them while the service runs."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Any

import msgspec
from litestar import Request

from huajuan.commands.operations import add_inference_server as add_server
from huajuan.commands.operations import remove_inference_server as remove_server
from huajuan.domain.inference_servers import SERVER_URL_CHARACTERS_MAX, InferenceServers
from huajuan.domain.refusals import (
    ServerAddressHasCredentials,
    ServerAddressInvalid,
    ServerAlreadyAdded,
    ServerNotFound,
)
from huajuan.event_store.store import ChangeResult, EventStore, after_commit
from huajuan.http import messages
from huajuan.http.errors import ApiError, ErrorTable
from huajuan.http.openapi.operations import json_body, operation
from huajuan.http.openapi.responses import MessageResponse
from huajuan.http.request import Reason, read_form, reason_in
from huajuan.jobs.dispatcher import Dispatcher
from huajuan.jobs.runner import JobRunner
from huajuan.jobs.servers import InferenceServer, ServerState

ServerCommand = Callable[[EventStore, str, Iterable[str], str], Awaitable[ChangeResult]]


class InferenceServerForm(msgspec.Struct):
    """The URL of an inference server, and why it is added or removed."""

    url: Annotated[str, msgspec.Meta(max_length=SERVER_URL_CHARACTERS_MAX)]
    reason: Reason = ""


class InferenceServerOnWire(msgspec.Struct):
    """The state of an inference server, as this process has seen it.

    `reachable` is null before the first request to it. It gets no job for `cooldown_seconds`. `problems` are
    the parts of the workflow that do not fit it, by node and input; null before the first check. `state` is
    `ready`, `cooldown` (it gets one job at a time until one succeeds), `unreachable` or `unfit` (it lacks
    what the workflow needs, or refused it); `reason` is why it is not ready.
    """

    url: str
    reachable: bool | None
    last_job_succeeded: bool
    cooldown_seconds: float
    problems: list[str] | None
    state: ServerState
    reason: str | None


class InferenceServersResponse(MessageResponse, kw_only=True):
    """All inference servers that may get jobs, and how many jobs wait."""

    inference_servers: list[InferenceServerOnWire]
    waiting: int


EXAMPLE_READY: dict[str, Any] = {
    "url": "http://gpu-2:8188",
    "reachable": True,
    "last_job_succeeded": True,
    "cooldown_seconds": 0.0,
    "problems": [],
    "state": "ready",
    "reason": None,
}
EXAMPLE_COOLDOWN = EXAMPLE_READY | {
    "url": "http://gpu-3:8188",
    "last_job_succeeded": False,
    "cooldown_seconds": 3.5,
    "state": "cooldown",
    "reason": "the server failed while drawing, in KSampler",
}
EXAMPLES = [
    {"message": messages.SUCCEEDED, "inference_servers": [EXAMPLE_READY, EXAMPLE_COOLDOWN], "waiting": 3}
]
BODY = json_body(InferenceServerForm, {"url": "http://gpu-2:8188", "reason": "more to draw"}, "reason")
URL_ERRORS: ErrorTable = {
    ServerAddressInvalid: ApiError(400, message=messages.SERVER_URL_INVALID),
    ServerAddressHasCredentials: ApiError(400, message=messages.SERVER_URL_HAS_CREDENTIALS),
}


@operation("Admin", examples=EXAMPLES)
async def list_inference_servers(job_runner: JobRunner, dispatcher: Dispatcher) -> InferenceServersResponse:
    """The inference servers that may get jobs, and their states."""
    await dispatcher.refresh_servers()
    return _reply(job_runner, await job_runner.queue.waiting())


@operation(
    "Admin",
    examples=EXAMPLES,
    body=BODY,
    errors={**URL_ERRORS, ServerAlreadyAdded: ApiError(409, message=messages.SERVER_ALREADY_ADDED)},
)
async def add_inference_server(
    request: Request[Any, Any, Any], store: EventStore, job_runner: JobRunner
) -> InferenceServersResponse:
    """Add an inference server, in every process, without a restart."""
    return await _change(request, store, job_runner, add_server)


@operation(
    "Admin",
    examples=EXAMPLES,
    body=BODY,
    errors={**URL_ERRORS, ServerNotFound: ApiError(404, message=messages.SERVER_NOT_FOUND)},
)
async def remove_inference_server(
    request: Request[Any, Any, Any], store: EventStore, job_runner: JobRunner
) -> InferenceServersResponse:
    """Remove an inference server. It finishes the jobs that it has and gets no more."""
    return await _change(request, store, job_runner, remove_server)


async def _change(
    request: Request[Any, Any, Any], store: EventStore, job_runner: JobRunner, command: ServerCommand
) -> InferenceServersResponse:
    pool = job_runner.servers
    form = await read_form(request, InferenceServerForm)
    waiting = await job_runner.queue.waiting()
    decided = await command(store, form.url, pool.configured, reason_in(form))
    studio: InferenceServers = decided.aggregates[0]
    with after_commit("inference servers of this process"):
        await pool.update(studio.urls(pool.configured))
    return _reply(job_runner, waiting)


def _reply(job_runner: JobRunner, waiting: int) -> InferenceServersResponse:
    servers = [_on_wire(server) for server in job_runner.servers.all.values()]
    return InferenceServersResponse(
        code=200, message=messages.SUCCEEDED, inference_servers=servers, waiting=waiting
    )


def _on_wire(server: InferenceServer) -> InferenceServerOnWire:
    return InferenceServerOnWire(
        server.url,
        server.is_reachable,
        server.has_succeeded and server.is_circuit_closed,
        round(server.cooldown_seconds, 3),
        server.problems,
        server.state,
        server.reason,
    )
