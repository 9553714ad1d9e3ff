"""Queue a graph once, whatever becomes of the answer: in doubt, look for the job before sending it again."""

import asyncio
from typing import Any
from uuid import UUID

from huajuan.inference_client.cancelling import Canceller
from huajuan.inference_client.errors import InferenceError, OutcomeUnknown, Rejected, ServerUnavailable
from huajuan.inference_client.failures import rejection
from huajuan.inference_client.holes import Graph
from huajuan.inference_client.jobs import Jobs, JobState
from huajuan.inference_client.limits import Limits
from huajuan.inference_client.transport import Answer, NoAnswer, NotSent, ServerError, Transport, Trouble

REFUSALS = {400, 413, 422}


class Submission:
    """Sends graphs to the server's queue under our own id and our socket's client id."""

    def __init__(self, transport: Transport, jobs: Jobs, client_id: str, limits: Limits) -> None:
        self._transport = transport
        self._jobs = jobs
        self._canceller = Canceller(transport, jobs)
        self._client_id = client_id
        self._limits = limits

    async def submit(self, prompt_id: UUID, graph: Graph) -> None:
        """Returns when the server has the job. Raises Rejected, ServerUnavailable or OutcomeUnknown."""
        doubts: list[NoAnswer] = []
        for _ in range(self._limits.submit_attempts_max):
            try:
                return await self._post(prompt_id, graph)
            except NotSent as problem:
                raise self._given_up(doubts, problem) from problem
            except NoAnswer as doubt:
                doubts.append(doubt)
                if await self._has_arrived(prompt_id):
                    return None
        raise self._given_up(doubts, doubts[-1])

    def _given_up(self, doubts: list[NoAnswer], last: Trouble) -> InferenceError:
        # After a clear error and several looks in vain, the job is not there.
        if not all(isinstance(doubt, ServerError) for doubt in doubts):
            return OutcomeUnknown("the server does not answer clearly", str(last))
        return ServerUnavailable(last.reason, str(last))

    async def _post(self, prompt_id: UUID, graph: Graph) -> None:
        answer = await self._transport.post("/prompt", self._request(prompt_id, graph))
        if answer.status in REFUSALS:
            raise rejection(_decoded_or_none(answer), self._limits.detail_characters_max)
        if answer.status != 200:
            raise ServerUnavailable(f"{answer.reason}: it takes no jobs from us", answer.text)
        await self._check_acceptance(prompt_id, answer.document())

    def _request(self, prompt_id: UUID, graph: Graph) -> dict[str, Any]:
        # A client id is sent even if no socket listens: without it some versions leave the outputs empty.
        return {
            "prompt": graph,
            "prompt_id": str(prompt_id),
            "client_id": self._client_id,
            "extra_data": {"preview_method": "none"},
        }

    async def _check_acceptance(self, prompt_id: UUID, accepted: dict[str, Any]) -> None:
        if accepted.get("node_errors"):
            # A 200 all the same: the part of the graph that is sound has been queued.
            await self._withdraw(prompt_id)
            refused = rejection(accepted, self._limits.detail_characters_max)
            # Sent again, it could not be told from what was withdrawn.
            raise Rejected(refused.reason, refused.detail)
        if (theirs := accepted.get("prompt_id")) != str(prompt_id):
            await self._withdraw_named(theirs)
            raise Rejected("the server is too old to take our job ids", f"it answered {str(theirs)[:60]!r}")

    async def _withdraw_named(self, theirs: object) -> None:
        try:
            await self._withdraw(UUID(str(theirs)))
        except ValueError:
            return

    async def _withdraw(self, prompt_id: UUID) -> None:
        try:
            await self._canceller.cancel(prompt_id)
        except Trouble:
            return

    async def _has_arrived(self, prompt_id: UUID) -> bool:
        """Look several times; OutcomeUnknown when the last look, too, brings no clear answer."""
        state, problem = None, ""
        for _ in range(self._limits.looks_before_resending):
            try:
                state = await self._jobs.find(prompt_id)
            except Trouble as trouble:
                state, problem = None, str(trouble)
            if state not in {None, JobState.UNKNOWN}:
                return True
            await asyncio.sleep(self._limits.retry_seconds)
        if state is None:
            raise OutcomeUnknown("the server does not answer clearly", problem)
        return False


def _decoded_or_none(answer: Answer) -> Any:
    try:
        return answer.decoded()
    except NoAnswer:
        return {"error": None, "body": answer.text}
