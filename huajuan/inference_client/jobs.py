"""The jobs of a server: submitted exactly once, looked up and cancelled."""

import asyncio
import contextlib
import enum
from typing import Any
from uuid import UUID

from huajuan.inference_client.errors import (
    InferenceError,
    OutcomeUnknown,
    ServerUnavailable,
    WorkflowRejected,
    messages,
    rejection,
)
from huajuan.inference_client.models import ClientLimits, mapping
from huajuan.inference_client.placeholders import Graph
from huajuan.inference_client.transport import (
    NoUsableResponse,
    RequestNotSent,
    Response,
    ServerErrorResponse,
    Transport,
    TransportError,
)

REJECTED_STATUSES = {400, 413, 422}
UNCLEAR = "the server does not answer clearly"


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
    """Jobs under our own ids and client id. Methods other than `submit` raise `TransportError`.

    They are looked up by /api/jobs, or on older servers by queue and history.
    """

    def __init__(self, transport: Transport, client_id: str, limits: ClientLimits) -> None:
        self._transport, self._client_id, self._limits = transport, client_id, limits
        self._has_jobs_route = True

    async def submit(self, prompt_id: UUID, graph: Graph) -> None:
        """Ends when the server has it. Raises `WorkflowRejected`, `ServerUnavailable` or `OutcomeUnknown`."""
        ambiguous: list[NoUsableResponse] = []
        for _ in range(self._limits.submit_attempts_max):
            try:
                return await self._post(prompt_id, graph)
            except RequestNotSent as error:
                raise self._failure(ambiguous, error) from error
            except NoUsableResponse as error:
                ambiguous.append(error)
                if await self._has_arrived(prompt_id):
                    return None
        raise self._failure(ambiguous, ambiguous[-1])

    def _failure(self, ambiguous: list[NoUsableResponse], last: TransportError) -> InferenceError:
        # After a clear error and several lookups without a result, the server does not have the job.
        if not all(isinstance(error, ServerErrorResponse) for error in ambiguous):
            return OutcomeUnknown(UNCLEAR, str(last))
        return ServerUnavailable(last.reason, str(last))

    async def _post(self, prompt_id: UUID, graph: Graph) -> None:
        # Without a client id some versions leave the outputs empty, so it is sent even without a socket.
        request = {"prompt": graph, "prompt_id": str(prompt_id), "client_id": self._client_id}
        request |= {"extra_data": {"preview_method": "none"}}
        response = await self._transport.post("/prompt", request)
        if response.status in REJECTED_STATUSES:
            raise rejection(_decode_or_text(response), self._limits.detail_characters_max)
        if response.status != 200:
            raise ServerUnavailable(f"{response.reason}: it takes no jobs from us", response.text)
        await self._check_accepted(prompt_id, response.document())

    async def _check_accepted(self, prompt_id: UUID, accepted: dict[str, Any]) -> None:
        if accepted.get("node_errors"):
            # Despite the status 200: the valid part of the graph was queued.
            await self._withdraw(prompt_id)
            rejected = rejection(accepted, self._limits.detail_characters_max)
            # Not `is_unlisted`: a second submission could not be distinguished from the withdrawn one.
            raise WorkflowRejected(rejected.reason, rejected.detail)
        if (theirs := accepted.get("prompt_id")) != str(prompt_id):
            with contextlib.suppress(ValueError):
                await self._withdraw(UUID(str(theirs)))
            reason = "the server is too old to take our job ids"
            raise WorkflowRejected(reason, f"it answered {str(theirs)[:60]!r}")

    async def _withdraw(self, prompt_id: UUID) -> None:
        with contextlib.suppress(TransportError):
            await self.cancel(prompt_id)

    async def _has_arrived(self, prompt_id: UUID) -> bool:
        """Look the job up several times. Raises `OutcomeUnknown` if the last lookup is ambiguous."""
        state, problem = None, ""
        for _ in range(self._limits.looks_before_resending):
            try:
                state = await self.find(prompt_id)
            except TransportError as trouble:
                state, problem = None, str(trouble)
            if state not in {None, JobState.UNKNOWN}:
                return True
            await asyncio.sleep(self._limits.retry_seconds)
        if state is None:
            raise OutcomeUnknown(UNCLEAR, problem)
        return False

    async def find(self, prompt_id: UUID) -> JobState:
        if self._has_jobs_route and (state := await self._find_by_route(prompt_id)) is not None:
            return state
        if (state := await self._find_in_queue(prompt_id)) is not JobState.UNKNOWN:
            return state
        if (entry := await self.record(prompt_id)) is not None:
            return final_state(entry)
        # Once more: the job may move to the history between these requests.
        return await self._find_in_queue(prompt_id)

    async def record(self, prompt_id: UUID) -> dict[str, Any] | None:
        """The job's history entry; `None` if the job has not ended or is unknown."""
        history = (await self._transport.get(f"/history/{prompt_id}")).document()
        entry = history.get(str(prompt_id))
        return entry if isinstance(entry, dict) else None

    async def remaining(self) -> int:
        """The number of unfinished jobs on the server, of all clients."""
        info = (await self._transport.get("/prompt")).document().get("exec_info")
        if not isinstance(count := mapping(info).get("queue_remaining"), int):
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
        status = str(response.document().get("status"))
        if status not in STATES:
            raise NoUsableResponse(f"a job's status is {status[:60]!r}")
        return STATES[status]

    async def _find_in_queue(self, prompt_id: UUID) -> JobState:
        queue = (await self._transport.get("/queue")).document()
        if _contains(queue.get("queue_running"), prompt_id):
            return JobState.RUNNING
        return JobState.QUEUED if _contains(queue.get("queue_pending"), prompt_id) else JobState.UNKNOWN


def final_state(entry: dict[str, Any]) -> JobState:
    """The final state in a history entry. Failed and interrupted jobs differ only in their messages."""
    if mapping(entry.get("status")).get("status_str") == "success":
        return JobState.SUCCEEDED
    return JobState.CANCELLED if "execution_interrupted" in dict(messages(entry)) else JobState.FAILED


def _contains(items: object, prompt_id: UUID) -> bool:
    if not isinstance(items, list):
        raise NoUsableResponse("the queue is no list")
    return any(isinstance(item, list) and len(item) > 1 and item[1] == str(prompt_id) for item in items)


def _decode_or_text(response: Response) -> Any:
    try:
        return response.decoded()
    except NoUsableResponse:
        return {"error": None, "body": response.text}
