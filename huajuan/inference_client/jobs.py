"""Looks up and cancels jobs: by /api/jobs, or on older servers by queue and history."""

import enum
from typing import Any
from uuid import UUID

from huajuan.inference_client.transport import NoUsableResponse, Transport


class JobState(enum.Enum):
    """The state of a job on the server. `UNKNOWN` includes a job that moves from the queue to the history."""

    UNKNOWN = "unknown"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


STATES = {
    "pending": JobState.QUEUED,
    "in_progress": JobState.RUNNING,
    "completed": JobState.SUCCEEDED,
    "failed": JobState.FAILED,
    "cancelled": JobState.CANCELLED,
}


class Jobs:
    """The jobs of one server. Methods raise `TransportError`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._has_jobs_route = True

    async def find(self, prompt_id: UUID) -> JobState:
        state = await self._find_by_route(prompt_id) if self._has_jobs_route else None
        return state or await self._find_in_lists(prompt_id)

    async def record(self, prompt_id: UUID) -> dict[str, Any] | None:
        """The job's history entry; `None` if the job has not ended or is unknown."""
        history = (await self._transport.get(f"/history/{prompt_id}")).document()
        entry = history.get(str(prompt_id))
        return entry if isinstance(entry, dict) else None

    async def remaining(self) -> int:
        """The number of unfinished jobs on the server, of all clients."""
        info = (await self._transport.get("/prompt")).document().get("exec_info")
        if not isinstance(info, dict) or not isinstance(count := info.get("queue_remaining"), int):
            raise NoUsableResponse("the response has no queue length")
        return count

    async def cancel(self, prompt_id: UUID) -> None:
        """Request a stop of this job alone. A job that has ended or is unknown is left alone."""
        response = await self._transport.post(f"/api/jobs/{prompt_id}/cancel", {})
        if response.status == 200:
            return
        # Without that route: the queue first, since the job may start in between.
        await self._transport.post("/queue", {"delete": [str(prompt_id)]})
        # Servers before 0.3.57 ignore the id and stop any running job, so the running one is checked.
        if await self._find_in_queue(prompt_id) is JobState.RUNNING:
            await self._transport.post("/interrupt", {"prompt_id": str(prompt_id)})

    async def _find_by_route(self, prompt_id: UUID) -> JobState | None:
        """`None` if the server lacks the route: then its 404 is not JSON, unlike that of an unknown job."""
        response = await self._transport.get(f"/api/jobs/{prompt_id}")
        if response.status in {404, 405}:
            self._has_jobs_route = response.is_json
            return JobState.UNKNOWN if response.is_json else None
        return _state(response.document())

    async def _find_in_lists(self, prompt_id: UUID) -> JobState:
        # The queue twice: the job may move to the history between the first two requests.
        for find in (self._find_in_queue, self._find_in_history, self._find_in_queue):
            if (state := await find(prompt_id)) is not JobState.UNKNOWN:
                return state
        return JobState.UNKNOWN

    async def _find_in_queue(self, prompt_id: UUID) -> JobState:
        queue = (await self._transport.get("/queue")).document()
        if _contains(queue.get("queue_running"), prompt_id):
            return JobState.RUNNING
        return JobState.QUEUED if _contains(queue.get("queue_pending"), prompt_id) else JobState.UNKNOWN

    async def _find_in_history(self, prompt_id: UUID) -> JobState:
        entry = await self.record(prompt_id)
        return JobState.UNKNOWN if entry is None else final_state(entry)


def final_state(entry: dict[str, Any]) -> JobState:
    """The final state in a history entry. Failed and interrupted jobs differ only in their messages."""
    if _status(entry).get("status_str") == "success":
        return JobState.SUCCEEDED
    return JobState.CANCELLED if "execution_interrupted" in dict(messages(entry)) else JobState.FAILED


def messages(entry: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The events of a history entry as (type, data), oldest first, without malformed ones."""
    listed = _status(entry).get("messages")
    pairs = [pair for pair in listed if _is_message(pair)] if isinstance(listed, list) else []
    return [(str(kind), data) for kind, data in pairs]


def _is_message(pair: object) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], dict)


def _status(entry: dict[str, Any]) -> dict[str, Any]:
    status = entry.get("status")
    return status if isinstance(status, dict) else {}


def _state(job: dict[str, Any]) -> JobState:
    state = STATES.get(str(job.get("status")))
    if state is None:
        raise NoUsableResponse(f"a job's status is {str(job.get('status'))[:60]!r}")
    return state


def _contains(items: object, prompt_id: UUID) -> bool:
    if not isinstance(items, list):
        raise NoUsableResponse("the queue is no list")
    return any(isinstance(item, list) and len(item) > 1 and item[1] == str(prompt_id) for item in items)
