"""Stop one job and no other."""

from uuid import UUID

from huajuan.inference_client.jobs import Jobs
from huajuan.inference_client.transport import Transport


class Canceller:
    """Asks for a stop; whether and how the job then ends is for a later look to tell."""

    def __init__(self, transport: Transport, jobs: Jobs) -> None:
        self._transport = transport
        self._jobs = jobs

    async def cancel(self, prompt_id: UUID) -> None:
        """Raises `transport.Trouble`. A job which has ended, or is unknown, is left alone."""
        answer = await self._transport.post(f"/api/jobs/{prompt_id}/cancel", {})
        if answer.status != 200:
            await self._cancel_by_lists(prompt_id)

    async def _cancel_by_lists(self, prompt_id: UUID) -> None:
        """For servers without the route. First the queue, since the job may start in between."""
        await self._transport.post("/queue", {"delete": [str(prompt_id)]})
        # Servers before 0.3.57 ignore the id and stop whatever runs, hence the look.
        if await self._jobs.is_running(prompt_id):
            await self._transport.post("/interrupt", {"prompt_id": str(prompt_id)})
