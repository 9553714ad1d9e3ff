"""The demo server: its worker, which runs one job at a time, and the responses that its routes share."""

import asyncio
import traceback
from collections import OrderedDict
from functools import partial
from typing import Any

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from huajuan.demo_comfyui.execution import Files, NodeContext, Results, order, resolved, run_node, signature
from huajuan.demo_comfyui.faults import Faults, Mode
from huajuan.demo_comfyui.jobs import Job, JobList, SocketHub, now_ms
from huajuan.demo_comfyui.nodes import NODES, ModelFiles

SERVER_ERROR = "500 Internal Server Error\n\nServer got itself in trouble"
CACHED_OUTPUTS_MAX = 100
# The events of jobs without a client id. They are sent to all sockets.
SENT_TO_ALL = {"progress", "progress_state", "execution_interrupted"}
AnyRequest = Request[Any, Any, Any]


class Interrupted(Exception):
    """The running job was interrupted."""


class OutOfMemoryError(RuntimeError):
    """Has the name of the real exception."""


EXECUTION_FAULTS = {
    Mode.EXECUTION_ERROR: (RuntimeError, "shapes cannot be multiplied, in /srv/secret/model.py"),
    Mode.OUT_OF_MEMORY: (
        OutOfMemoryError,
        "Allocation on device 0 would exceed allowed memory. (out of memory)",
    ),
    Mode.PARTIAL_OUTPUTS: (RuntimeError, "a later node failed, in /srv/secret/upscaler.py"),
}


class Worker:
    """Takes jobs from the list, one at a time. `step_seconds` is the pause of every sampler step."""

    def __init__(self, demo: "DemoServer") -> None:
        self._jobs, self._hub, self._files, self._faults = demo.jobs, demo.hub, demo.files, demo.faults
        self.step_seconds = demo.step_seconds
        self._node = ""
        self._cache: OrderedDict[str, list[dict[str, str]]] = OrderedDict()

    async def run(self) -> None:
        while True:
            job = await self._jobs.next()
            self._hub.broadcast_status()
            await self._run(job)

    async def _run(self, job: Job) -> None:
        self._send(job, "execution_start", {}, record=True)
        if self._faults.takes(Mode.ZOMBIE):
            await asyncio.Event().wait()
        if self._faults.takes(Mode.RESTART):
            self._jobs.clear()
            return
        await self._execute(job)
        self._jobs.end(job)
        self._hub.broadcast_status()
        self._send(job, "executing", {"node": None})

    async def _execute(self, job: Job) -> None:
        try:
            await self._execute_nodes(job)
        except Interrupted:
            job.status = "cancelled"
            self._send(job, "execution_interrupted", self._where(job), record=True)
        except Exception as problem:  # noqa: BLE001 - as in ComfyUI, an error in a node ends its job only
            job.status = "failed"
            self._send(job, "execution_error", self._where(job) | _described(problem), record=True)
        else:
            job.status = "completed"
            self._send(job, "execution_success", {}, record=True)

    async def _execute_nodes(self, job: Job) -> None:
        signed = {node: signature(job.graph, node) for node in job.outputs_wanted}
        cached = {node: self._cache[key] for node, key in signed.items() if self._cache.get(key)}
        self._send(job, "execution_cached", {"nodes": list(cached)}, record=True)
        if self._faults.takes(Mode.SOCKET_NOISE):
            self._hub.send_noise(job.client_id)
        context = NodeContext(self._files, job.graph, partial(self._step, job))
        results: dict[str, Results] = {}
        for node in order(job.graph, [node for node in job.outputs_wanted if node not in cached]):
            await self._run_node(job, node, context, results)
        for node, places in cached.items():
            self._store_output(job, node, places)

    async def _run_node(self, job: Job, node: str, context: NodeContext, results: dict[str, Results]) -> None:
        self._node = node
        self._check_interrupt(job)
        self._send(job, "progress_state", {"nodes": {node: _state(node, 0, 1)}})
        self._send(job, "executing", {"node": node, "display_node": node})
        if node in job.outputs_wanted:
            self._raise_fault(Mode.EXECUTION_ERROR, Mode.OUT_OF_MEMORY)
        results[node] = await run_node(node, resolved(job.graph, node, results), context)
        if NODES[job.graph[node]["class_type"]].is_output:
            places = list(results[node])
            self._cache[signature(job.graph, node)] = places
            while len(self._cache) > CACHED_OUTPUTS_MAX:
                self._cache.popitem(last=False)
            self._store_output(job, node, places)
            self._raise_fault(Mode.PARTIAL_OUTPUTS)

    async def _step(self, job: Job, node: str, step: int, steps: int) -> None:
        await asyncio.sleep(self.step_seconds)
        if self._faults.takes(Mode.NEVER_ENDING):
            await job.stop.wait()
        self._check_interrupt(job)
        self._send(job, "progress_state", {"nodes": {node: _state(node, step, steps)}})
        self._send(job, "progress", {"value": step, "max": steps, "node": node})

    def _check_interrupt(self, job: Job) -> None:
        if job.stop.is_set() or self._faults.takes(Mode.INTERRUPTED):
            raise Interrupted

    def _raise_fault(self, *modes: Mode) -> None:
        if (fault := self._faults.first(*modes)) is not None:
            kind, message = EXECUTION_FAULTS[fault.mode]
            raise kind(message)

    def _store_output(self, job: Job, node: str, places: list[dict[str, str]]) -> None:
        if self._faults.takes(Mode.FILE_GONE):
            for place in places:
                self._files.delete(place)
        output = {"images": places}
        self._send(job, "executed", {"node": node, "display_node": node, "output": output})
        if not self._faults.takes(Mode.NO_OUTPUTS):
            job.outputs[node] = output

    def drop_cache(self) -> None:
        self._cache.clear()

    def _where(self, job: Job) -> dict[str, Any]:
        kind = job.graph[self._node]["class_type"] if self._node in job.graph else ""
        return {"node_id": self._node, "node_type": kind, "executed": list(job.outputs)}

    def _send(self, job: Job, kind: str, data: dict[str, Any], *, record: bool = False) -> None:
        stamped = data | {"prompt_id": job.prompt_id} | ({"timestamp": now_ms()} if record else {})
        if record:
            job.messages.append((kind, stamped))
        if job.client_id is not None or kind in SENT_TO_ALL:
            self._hub.send(kind, stamped, job.client_id)


def _state(node: str, value: int, most: int) -> dict[str, Any]:
    names = {"node_id": node, "display_node_id": node, "real_node_id": node, "parent_node_id": None}
    return names | {"value": value, "max": most, "state": "finished" if value == most else "running"}


def _described(problem: Exception) -> dict[str, Any]:
    return {
        "exception_message": str(problem),
        "exception_type": type(problem).__name__,
        "traceback": traceback.format_exception(problem),
        "current_inputs": {},
        "current_outputs": [],
    }


class DemoServer:
    """Queue, worker, sockets, files and active faults."""

    def __init__(self, *, step_seconds: float = 0.0, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.step_seconds = step_seconds
        self.hidden_until: dict[str, float] = {}
        self.files = Files()
        self.model_files = ModelFiles()
        self.jobs = JobList()
        self.hub = SocketHub(self.jobs, self.faults)
        self.worker = Worker(self)
        self._task: asyncio.Task[None] | None = None

    async def restart(self) -> None:
        """Discard all state in memory, as a restart of the process does."""
        await self.stop()
        self.jobs.clear()
        self.jobs.runs.clear()
        self.jobs.resent.clear()
        self.hidden_until.clear()
        self.model_files = ModelFiles()
        self.worker = Worker(self)
        self.start()

    def start(self) -> None:
        self._task = asyncio.create_task(self.worker.run(), name="demo worker")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


DemoServerState = NamedDependency[DemoServer]


def with_api_prefix(path: str) -> list[str]:
    """The paths of a route with and without the prefix /api, as ComfyUI has nearly all of them."""
    return [path, f"/api{path}"]


def reply(body: Any, status: int = 200) -> Response[Any]:
    return Response(body, status_code=status, media_type="application/json")


def plain(text: str, status: int) -> Response[str]:
    return Response(text, status_code=status, media_type="text/plain")


class RawResponse(Response[bytes]):
    """Sent as it is. Many of ComfyUI's responses have neither body nor content type.

    If `is_cut`, the body is shorter than its Content-Length, and the server closes the connection.
    """

    def __init__(self, content: bytes = b"", kind: str = "", *, is_cut: bool = False) -> None:
        super().__init__(content)
        self._raw = _Raw(content, kind, is_cut=is_cut)

    def to_asgi_response(self, *_args: Any, **_options: Any) -> ASGIResponse:
        return self._raw


class _Raw(ASGIResponse):
    def __init__(self, content: bytes, kind: str, *, is_cut: bool) -> None:
        super().__init__(body=content)
        self._kind, self._is_cut = kind, is_cut

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"100000" if self._is_cut else b"%d" % len(self.body))]
        headers += [(b"content-type", self._kind.encode())] if self._kind else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": self._is_cut})
