"""Where a job is: asked of /api/jobs where the server has it, else of queue, history and queue again."""

import enum
from typing import Any
from uuid import UUID

from huajuan.inference_client.transport import NoAnswer, Transport


class JobState(enum.Enum):
    """What the server says of a job; `UNKNOWN` alone may also mean that it is between two lists."""

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
    """Looks jobs up. Methods raise `transport.Trouble` when the server gives no usable answer."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._has_jobs_route = True

    async def find(self, prompt_id: UUID) -> JobState:
        state = await self._find_by_route(prompt_id) if self._has_jobs_route else None
        return state or await self._find_in_lists(prompt_id)

    async def record(self, prompt_id: UUID) -> dict[str, Any] | None:
        """The job's history entry; None while it has not ended, and when it is unknown."""
        history = (await self._transport.get(f"/history/{prompt_id}")).document()
        entry = history.get(str(prompt_id))
        return entry if isinstance(entry, dict) else None

    async def is_running(self, prompt_id: UUID) -> bool:
        return await self._find_in_queue(prompt_id) is JobState.RUNNING

    async def remaining(self) -> int:
        """How many jobs the server has yet to end, everyone's."""
        info = (await self._transport.get("/prompt")).document().get("exec_info")
        if not isinstance(info, dict) or not isinstance(count := info.get("queue_remaining"), int):
            raise NoAnswer("the server does not say how long its queue is")
        return count

    async def _find_by_route(self, prompt_id: UUID) -> JobState | None:
        """None when the server is too old for the route: its 404 is no JSON, that of an unknown job is."""
        answer = await self._transport.get(f"/api/jobs/{prompt_id}")
        if answer.status in {404, 405}:
            self._has_jobs_route = answer.is_json
            return JobState.UNKNOWN if answer.is_json else None
        return _state(answer.document())

    async def _find_in_lists(self, prompt_id: UUID) -> JobState:
        # The queue twice, since between the first two looks the job may have moved from one to the other.
        for place in (self._find_in_queue, self._find_in_history, self._find_in_queue):
            if (state := await place(prompt_id)) is not JobState.UNKNOWN:
                return state
        return JobState.UNKNOWN

    async def _find_in_queue(self, prompt_id: UUID) -> JobState:
        queue = (await self._transport.get("/queue")).document()
        if _holds(queue.get("queue_running"), prompt_id):
            return JobState.RUNNING
        return JobState.QUEUED if _holds(queue.get("queue_pending"), prompt_id) else JobState.UNKNOWN

    async def _find_in_history(self, prompt_id: UUID) -> JobState:
        entry = await self.record(prompt_id)
        return JobState.UNKNOWN if entry is None else ending(entry)


def ending(entry: dict[str, Any]) -> JobState:
    """How the job of a history entry ended. Failed and interrupted both say `error`: the messages differ."""
    if _status(entry).get("status_str") == "success":
        return JobState.SUCCEEDED
    return JobState.CANCELLED if "execution_interrupted" in dict(messages(entry)) else JobState.FAILED


def messages(entry: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The events a history entry lists, as (type, data), oldest first; malformed ones are left out."""
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
        raise NoAnswer(f"a job's status is {str(job.get('status'))[:60]!r}")
    return state


def _holds(items: object, prompt_id: UUID) -> bool:
    if not isinstance(items, list):
        raise NoAnswer("the queue is no list")
    return any(isinstance(item, list) and len(item) > 1 and item[1] == str(prompt_id) for item in items)
