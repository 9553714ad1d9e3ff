"""The client: draw one picture on one ComfyUI server, exactly once, and know what became of it."""

import asyncio
import contextlib
import weakref
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import msgspec

from huajuan.inference_client.cancelling import Canceller
from huajuan.inference_client.discovery import Discovery, ServerInfo
from huajuan.inference_client.drawing import Drawing, Drawn
from huajuan.inference_client.errors import Cancelled, OutcomeUnknown, Rejected, ServerUnavailable
from huajuan.inference_client.fetching import Fetching
from huajuan.inference_client.filling import Filling
from huajuan.inference_client.fitting import misfits
from huajuan.inference_client.holes import Graph, WorkflowError, told
from huajuan.inference_client.jobs import Jobs, JobState
from huajuan.inference_client.limits import Limits
from huajuan.inference_client.listener import Listener
from huajuan.inference_client.outputs import check_workflow
from huajuan.inference_client.submission import Submission
from huajuan.inference_client.transport import Transport, Trouble
from huajuan.inference_client.waiting import OnProgress, Waiting
from huajuan.inference_client.watches import Clock, Watch, Watches
from huajuan.inference_client.workflow import checkpoint_of, text_to_image

OnAccepted = Callable[[], Awaitable[None]]


class ComfyUI:
    """One server at `url` (http or https, a path is kept). Use as an async context manager.

    `workflow` is any graph in API format with named holes, the built-in text-to-image by default;
    WorkflowError if it lacks a hole that matters, or if it is not clear which of its pictures is the one.
    Errors are those of `errors`. Cancelling a task inside `draw` leaves the job alone: `finish` it later.
    """

    def __init__(
        self,
        url: str,
        *,
        limits: Limits | None = None,
        workflow: Graph | None = None,
        client_id: str | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._workflow = workflow or text_to_image()
        check_workflow(self._workflow)
        self._client_id = client_id or str(uuid4())
        self._url = url.rstrip("/")
        # Two calls for one id in this process must not both find it unknown and both send it.
        self._sending: weakref.WeakValueDictionary[UUID, asyncio.Lock] = weakref.WeakValueDictionary()

    async def __aenter__(self) -> Self:
        self._clock: Clock = asyncio.get_running_loop().time
        self._transport = Transport(self._url, self._limits)
        self._jobs = Jobs(self._transport)
        self._canceller = Canceller(self._transport, self._jobs)
        self._submission = Submission(self._transport, self._jobs, self._client_id, self._limits)
        self._discovery = Discovery(self._transport, self._limits, self._clock)
        self._filling = Filling(self._discovery)
        self._fetching = Fetching(
            self._transport, self._jobs, self._limits, self._clock, self._filling.size_of
        )
        self._watches = Watches(self._clock, self._limits.jobs_watched_max)
        self._listener = Listener(socket_url(self._url, self._client_id), self._watches, self._limits)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._listener.aclose()
        await self._transport.aclose()

    async def draw(
        self,
        drawing: Drawing,
        on_progress: OnProgress | None = None,
        on_accepted: OnAccepted | None = None,
    ) -> Drawn:
        """A job the server knows is not sent again.

        `on_progress` gets fractions from 0 to 1, never falling. `on_accepted` is awaited once the server has the job;
        what it raises ends the call and leaves the job alone. Raises any of `errors`.
        """
        drawing = self._with_workflow(drawing)
        with self._watches.watch(drawing.prompt_id) as watch:
            self._listener.wake()
            should_hear = await self._send_once(drawing, watch)
            if on_accepted is not None:
                await on_accepted()
            drawn = await self._collect(drawing, watch, on_progress)
            if should_hear:
                self._listener.judge_hearing(watch.heard_at is not None)
        return drawn

    async def finish(self, drawing: Drawing, on_progress: OnProgress | None = None) -> Drawn:
        """As `draw` for a job begun earlier, perhaps elsewhere: never sends it. JobLost if unknown."""
        drawing = self._with_workflow(drawing)
        with self._watches.watch(drawing.prompt_id) as watch:
            return await self._collect(drawing, watch, on_progress)

    async def find(self, prompt_id: UUID) -> JobState:
        """What the server says of the job now; OutcomeUnknown when it says nothing clear."""
        try:
            return await self._jobs.find(prompt_id)
        except Trouble as trouble:
            raise OutcomeUnknown("the server does not answer clearly", str(trouble)) from trouble

    async def cancel(self, prompt_id: UUID) -> None:
        """Ask for a stop, queued or running. It may come too late: the job's own end tells."""
        self._watches.note_cancel(prompt_id)
        try:
            await self._canceller.cancel(prompt_id)
        except Trouble as trouble:
            raise OutcomeUnknown("the server does not answer clearly", str(trouble)) from trouble

    async def forget(self, prompt_id: UUID) -> None:
        """Free the server's memory of an ended job, once its picture is safe. Best effort, raises nothing."""
        try:
            await self._transport.post("/history", {"delete": [str(prompt_id)]})
        except Trouble:
            return

    async def checkpoints(self, workflow: Graph | None = None) -> list[str]:
        """The models that may stand for `{checkpoint}` there; ServerUnavailable when the server does not say."""
        return await self._filling.models(workflow or self._workflow)

    async def rounds_plainly(self, drawing: Drawing) -> bool:
        """Whether `plain_steps` of a drawing would change nothing here; ServerUnavailable if none answers."""
        return await self._filling.is_plain(self._with_workflow(drawing))

    async def check(self) -> ServerInfo:
        """What kind of server answers, ServerUnavailable if none does. Says nothing of its worker's health."""
        return await self._discovery.server()

    async def misfits(self, workflow: Graph) -> list[str]:
        """What of a workflow will not do on this server, a line each; ServerUnavailable if it does not say.

        The server itself has the last word: nodes may allow more than they say.
        """
        classes = (node["class_type"] for node in workflow.values())
        return misfits(workflow, await self._discovery.descriptions(classes))

    def _with_workflow(self, drawing: Drawing) -> Drawing:
        return msgspec.structs.replace(drawing, workflow=drawing.workflow or self._workflow)

    async def _send_once(self, drawing: Drawing, watch: Watch) -> bool:
        """True when this call sent the job while the socket was open, so that its events should be heard."""
        lock = self._sending.setdefault(drawing.prompt_id, asyncio.Lock())
        async with lock:
            if await self._is_known(drawing.prompt_id):
                return False
            graph = await self._graph(drawing)
            watch.expect(sampler_nodes(graph))
            await self._listener.head_start()
            was_connected = self._listener.is_connected
            try:
                await self._submit_as_it_is_now(drawing, graph, watch)
            except Rejected as rejected:
                raise await self._explained(rejected, drawing) from rejected
            return was_connected

    async def _submit_as_it_is_now(self, drawing: Drawing, graph: Graph, watch: Watch) -> None:
        """Once more if the server lists other models by now than when they were asked for."""
        try:
            await self._submit(drawing.prompt_id, graph, watch)
        except Rejected as rejected:
            again = await self._graph(drawing) if rejected.is_unlisted else graph
            if again == graph:
                raise
            await self._submit(drawing.prompt_id, again, watch)

    async def _explained(self, rejected: Rejected, drawing: Drawing) -> Rejected:
        """With the places in the workflow that do not fit, if that is why; what is wrong there is for the log."""
        try:
            problems = await self.misfits(drawing.workflow or self._workflow)
        except ServerUnavailable:
            return rejected
        if not problems:
            return rejected
        places = told([problem.partition(": ")[0] for problem in problems])
        return Rejected(
            f"the workflow does not fit the server: {places}", f"{told(problems)}; {rejected.detail}"
        )

    async def _submit(self, prompt_id: UUID, graph: Graph, watch: Watch) -> None:
        if watch.must_stop():
            raise Cancelled("the job was stopped")
        try:
            await self._submission.submit(prompt_id, graph)
        except Rejected:
            # The model may have been replaced since the models were listed.
            self._discovery.forget()
            raise
        if watch.must_stop():
            # The request to stop may have been there before the job, and then stopped nothing.
            with contextlib.suppress(Trouble):
                await self._canceller.cancel(prompt_id)

    async def _is_known(self, prompt_id: UUID) -> bool:
        problem: Trouble | None = None
        for _ in range(self._limits.look_attempts_max):
            try:
                return await self._jobs.find(prompt_id) is not JobState.UNKNOWN
            except Trouble as trouble:
                problem = trouble
        reason = problem.reason if problem else "the server cannot be reached"
        raise ServerUnavailable(reason, str(problem)) from problem

    async def _graph(self, drawing: Drawing) -> Graph:
        try:
            return await self._filling.graph(self._with_workflow(drawing))
        except WorkflowError as problem:
            raise Rejected("the picture cannot be drawn so", str(problem)) from problem

    async def _collect(self, drawing: Drawing, watch: Watch, on_progress: OnProgress | None) -> Drawn:
        state = await self._waiting(drawing.prompt_id, watch, on_progress).until_ended()
        content, graph = await self._fetching.fetch(drawing, state)
        checkpoint = checkpoint_of(graph, drawing.workflow or self._workflow)
        drawn = Drawn(content, checkpoint, await self._discovery.version())
        if on_progress is not None:
            on_progress(1.0)
        return drawn

    def _waiting(self, prompt_id: UUID, watch: Watch, on_progress: OnProgress | None) -> Waiting:
        return Waiting(
            prompt_id,
            jobs=self._jobs,
            canceller=self._canceller,
            listener=self._listener,
            watch=watch,
            watches=self._watches,
            limits=self._limits,
            clock=self._clock,
            on_progress=on_progress,
        )


def sampler_nodes(graph: Graph) -> frozenset[str]:
    """The nodes whose progress is the picture's."""
    return frozenset(node for node, content in graph.items() if "Sampler" in str(content.get("class_type")))


def socket_url(url: str, client_id: str) -> str:
    """The websocket's address beside the server's HTTP address."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    query = "&".join(filter(None, (parts.query, f"clientId={client_id}")))
    return urlunsplit((scheme, parts.netloc, f"{parts.path.rstrip('/')}/ws", query, ""))
