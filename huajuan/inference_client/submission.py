"""Submits a graph exactly once: after an ambiguous response the job is looked up before it is sent again."""

import asyncio
from typing import Any
from uuid import UUID

from huajuan.inference_client.errors import (
    InferenceError,
    OutcomeUnknown,
    ServerUnavailable,
    WorkflowRejected,
)
from huajuan.inference_client.failures import rejection
from huajuan.inference_client.jobs import Jobs, JobState
from huajuan.inference_client.models import ClientLimits
from huajuan.inference_client.transport import (
    NoUsableResponse,
    RequestNotSent,
    Response,
    ServerErrorResponse,
    Transport,
    TransportError,
)
from huajuan.inference_client.workflows.placeholders import Graph

REJECTED_STATUSES = {400, 413, 422}


class JobSubmitter:
    """Sends graphs to the server's queue, with our own job id and the client id of our socket."""

    def __init__(self, transport: Transport, jobs: Jobs, client_id: str, limits: ClientLimits) -> None:
        self._transport = transport
        self._jobs = jobs
        self._client_id = client_id
        self._limits = limits

    async def submit(self, prompt_id: UUID, graph: Graph) -> None:
        """Returns when the server has the job.

        Raises WorkflowRejected, ServerUnavailable or OutcomeUnknown.
        """
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
            return OutcomeUnknown("the server does not answer clearly", str(last))
        return ServerUnavailable(last.reason, str(last))

    async def _post(self, prompt_id: UUID, graph: Graph) -> None:
        response = await self._transport.post("/prompt", self._request(prompt_id, graph))
        if response.status in REJECTED_STATUSES:
            raise rejection(_decode_or_text(response), self._limits.detail_characters_max)
        if response.status != 200:
            raise ServerUnavailable(f"{response.reason}: it takes no jobs from us", response.text)
        await self._check_accepted(prompt_id, response.document())

    def _request(self, prompt_id: UUID, graph: Graph) -> dict[str, Any]:
        # Sent even without a socket: without a client id some versions leave the outputs empty.
        return {
            "prompt": graph,
            "prompt_id": str(prompt_id),
            "client_id": self._client_id,
            "extra_data": {"preview_method": "none"},
        }

    async def _check_accepted(self, prompt_id: UUID, accepted: dict[str, Any]) -> None:
        if accepted.get("node_errors"):
            # Despite the status 200: the valid part of the graph was queued.
            await self._withdraw(prompt_id)
            rejected = rejection(accepted, self._limits.detail_characters_max)
            # Not `is_unlisted`: a second submission could not be distinguished from the withdrawn one.
            raise WorkflowRejected(rejected.reason, rejected.detail)
        if (theirs := accepted.get("prompt_id")) != str(prompt_id):
            await self._withdraw_named(theirs)
            raise WorkflowRejected(
                "the server is too old to take our job ids", f"it answered {str(theirs)[:60]!r}"
            )

    async def _withdraw_named(self, theirs: object) -> None:
        try:
            await self._withdraw(UUID(str(theirs)))
        except ValueError:
            return

    async def _withdraw(self, prompt_id: UUID) -> None:
        try:
            await self._jobs.cancel(prompt_id)
        except TransportError:
            return

    async def _has_arrived(self, prompt_id: UUID) -> bool:
        """Look the job up several times. Raises `OutcomeUnknown` if the last lookup is ambiguous."""
        state, problem = None, ""
        for _ in range(self._limits.looks_before_resending):
            try:
                state = await self._jobs.find(prompt_id)
            except TransportError as trouble:
                state, problem = None, str(trouble)
            if state not in {None, JobState.UNKNOWN}:
                return True
            await asyncio.sleep(self._limits.retry_seconds)
        if state is None:
            raise OutcomeUnknown("the server does not answer clearly", problem)
        return False


def _decode_or_text(response: Response) -> Any:
    try:
        return response.decoded()
    except NoUsableResponse:
        return {"error": None, "body": response.text}
