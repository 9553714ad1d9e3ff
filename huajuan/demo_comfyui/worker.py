"""The worker: runs one job at a time and sends its events in ComfyUI's order."""

import asyncio
import traceback
from collections import OrderedDict
from typing import Any

from huajuan.demo_comfyui.execution import NodeContext, Results, order, resolved, run_node, signature
from huajuan.demo_comfyui.faults import Faults, Mode
from huajuan.demo_comfyui.files import Files
from huajuan.demo_comfyui.jobs import Job, JobList, now_ms
from huajuan.demo_comfyui.nodes import NODES
from huajuan.demo_comfyui.sockets import SocketHub

CACHED_OUTPUTS_MAX = 100
# The events of jobs without a client id. They are sent to all sockets.
SENT_TO_ALL = {"progress", "progress_state", "execution_interrupted"}


class Interrupted(Exception):
    """The running job was interrupted."""


class OutOfMemoryError(RuntimeError):
    """Has the name of the real exception."""


class Worker:
    """Takes jobs from the list, one at a time. `step_seconds` is the pause of every sampler step."""

    def __init__(
        self, jobs: JobList, hub: SocketHub, files: Files, faults: Faults, step_seconds: float
    ) -> None:
        self._jobs, self._hub, self._files, self._faults = jobs, hub, files, faults
        self.step_seconds = step_seconds
        self._node = ""
        self._cache: OrderedDict[str, list[dict[str, str]]] = OrderedDict()

    async def run(self) -> None:
        while True:
            job = await self._jobs.next()
            self._hub.broadcast_status()
            await self._run(job)

    async def _run(self, job: Job) -> None:
        self._send(job, "execution_start", {}, record=True)
        if await self._simulate_death():
            return
        await self._execute(job)
        self._jobs.end(job)
        self._hub.broadcast_status()
        self._send(job, "executing", {"node": None})

    async def _simulate_death(self) -> bool:
        if self._faults.takes(Mode.ZOMBIE):
            await asyncio.Event().wait()
        if restarts := self._faults.takes(Mode.RESTART):
            self._jobs.clear()
        return restarts

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
        cached = {node: places for node in job.outputs_wanted if (places := self._cached(job, node))}
        self._send(job, "execution_cached", {"nodes": list(cached)}, record=True)
        if self._faults.takes(Mode.SOCKET_NOISE):
            self._hub.send_noise(job.client_id)
        context = NodeContext(
            self._files, job.graph, lambda node, step, steps: self._step(job, node, step, steps)
        )
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
            self._raise_fault()
        results[node] = await run_node(node, resolved(job.graph, node, results), context)
        if NODES[job.graph[node]["class_type"]].is_output:
            self._cache_output(job, node, list(results[node]))
            self._store_output(job, node, list(results[node]))
            self._raise_fault_after_output()

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

    def _raise_fault(self) -> None:
        if self._faults.takes(Mode.EXECUTION_ERROR):
            raise RuntimeError("shapes cannot be multiplied, in /srv/secret/model.py")
        if self._faults.takes(Mode.OUT_OF_MEMORY):
            raise OutOfMemoryError("Allocation on device 0 would exceed allowed memory. (out of memory)")

    def _raise_fault_after_output(self) -> None:
        if self._faults.takes(Mode.PARTIAL_OUTPUTS):
            raise RuntimeError("a later node failed, in /srv/secret/upscaler.py")

    def _store_output(self, job: Job, node: str, places: list[dict[str, str]]) -> None:
        if self._faults.takes(Mode.FILE_GONE):
            for place in places:
                self._files.delete(place)
        output = {"images": places}
        self._send(job, "executed", {"node": node, "display_node": node, "output": output})
        if not self._faults.takes(Mode.NO_OUTPUTS):
            job.outputs[node] = output

    def _cached(self, job: Job, node: str) -> list[dict[str, str]] | None:
        return self._cache.get(signature(job.graph, node))

    def _cache_output(self, job: Job, node: str, places: list[dict[str, str]]) -> None:
        self._cache[signature(job.graph, node)] = places
        while len(self._cache) > CACHED_OUTPUTS_MAX:
            self._cache.popitem(last=False)

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
