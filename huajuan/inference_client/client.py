"""The client of one ComfyUI server."""

import asyncio
import contextlib
import weakref
from collections.abc import Awaitable, Callable, Iterator
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import msgspec

from huajuan.inference_client.checks import find_problems
from huajuan.inference_client.discovery import Discovery, ServerInfo
from huajuan.inference_client.errors import JobCancelled, OutcomeUnknown, ServerUnavailable, WorkflowRejected
from huajuan.inference_client.fill import WorkflowResolver, checkpoint_of, text_to_image
from huajuan.inference_client.jobs import UNCLEAR, Jobs, JobState
from huajuan.inference_client.models import ClientLimits, Drawing, Drawn
from huajuan.inference_client.placeholders import Graph, WorkflowError, summarize
from huajuan.inference_client.results import JobPoller, OnProgress, ResultFetcher
from huajuan.inference_client.socket import JobWatch, SocketListener
from huajuan.inference_client.transport import Transport, TransportError

OnAccepted = Callable[[], Awaitable[None]]


class ComfyUI:
    """One server at `url` (http or https, optionally with a path). Use as an async context manager.

    Methods raise the exceptions of `errors`. Cancelling a task inside `draw` leaves the job on the server:
    `finish` it later.
    """

    def __init__(self, url: str, limits: ClientLimits | None = None) -> None:
        self._limits = limits or ClientLimits()
        self._client_id = str(uuid4())
        self._url = url.rstrip("/")
        # One lock per job, so that of two calls for one id only one submits it.
        self._submit_locks: weakref.WeakValueDictionary[UUID, asyncio.Lock] = weakref.WeakValueDictionary()

    async def __aenter__(self) -> Self:
        self._transport = Transport(self._url, self._limits)
        self._jobs = Jobs(self._transport, self._client_id, self._limits)
        self._discovery = Discovery(self._transport, self._limits)
        self._resolver = WorkflowResolver(self._discovery)
        self._fetcher = ResultFetcher(self._transport, self._jobs, self._limits, self._resolver.size_of)
        self._listener = SocketListener(socket_url(self._url, self._client_id), self._limits)
        self._watches = self._listener.watches
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._listener.aclose()
        await self._transport.aclose()

    async def draw(
        self, drawing: Drawing, on_progress: OnProgress | None = None, on_accepted: OnAccepted | None = None
    ) -> Drawn:
        """Submit the drawing, unless the server knows its job already, and return its picture.

        `on_progress` gets increasing fractions from 0 to 1. `on_accepted` is awaited once the server has the
        job; an exception from it ends the call and leaves the job on the server. Raises any of `errors`.
        """
        drawing = _with_workflow(drawing)
        with self._watches.watch(drawing.prompt_id) as watch:
            self._listener.wake()
            expects_events = await self._submit_once(drawing, watch)
            if on_accepted is not None:
                await on_accepted()
            drawn = await self._collect(drawing, watch, on_progress)
            if expects_events:
                self._listener.report_job(watch.event_at is not None)
        return drawn

    async def finish(self, drawing: Drawing, on_progress: OnProgress | None = None) -> Drawn:
        """As `draw`, for a job submitted before. Raises `JobLost` if the server does not know it."""
        drawing = _with_workflow(drawing)
        with self._watches.watch(drawing.prompt_id) as watch:
            return await self._collect(drawing, watch, on_progress)

    async def find(self, prompt_id: UUID) -> JobState:
        """The present state of the job. Raises `OutcomeUnknown`."""
        with _unknown():
            return await self._jobs.find(prompt_id)

    async def cancel(self, prompt_id: UUID) -> None:
        """Request a stop of a queued or running job. The job may end before it takes effect."""
        self._watches.mark_cancelled(prompt_id)
        with _unknown():
            await self._jobs.cancel(prompt_id)

    async def forget(self, prompt_id: UUID) -> None:
        """Delete an ended job from the server's history. Best effort, raises nothing."""
        with contextlib.suppress(TransportError):
            await self._transport.post("/history", {"delete": [str(prompt_id)]})

    async def checkpoints(self, workflow: Graph | None = None) -> list[str]:
        """The models that may replace `{checkpoint}`. Raises `ServerUnavailable`."""
        return await self._resolver.models(workflow or text_to_image())

    async def uses_default_grid(self, drawing: Drawing) -> bool:
        """Whether `default_grid` would not change the size of the drawing. Raises `ServerUnavailable`."""
        return await self._resolver.uses_default_grid(_with_workflow(drawing))

    async def check(self) -> ServerInfo:
        """The server's version. Raises `ServerUnavailable`. The server's worker may be dead nevertheless."""
        return await self._discovery.server()

    async def check_compatibility(self, workflow: Graph) -> list[str]:
        """The incompatibilities of a workflow with this server, one line each. Raises `ServerUnavailable`.

        The server may accept the workflow nevertheless: nodes may allow more than they describe.
        """
        classes = (node["class_type"] for node in workflow.values())
        return find_problems(workflow, await self._discovery.descriptions(classes))

    async def _submit_once(self, drawing: Drawing, watch: JobWatch) -> bool:
        """Returns whether this call submitted the job while the socket was open: then events are expected."""
        lock = self._submit_locks.setdefault(drawing.prompt_id, asyncio.Lock())
        async with lock:
            if await self._is_known(drawing.prompt_id):
                return False
            graph = await self._graph(drawing)
            watch.set_progress_nodes(sampler_nodes(graph))
            await self._listener.wait_for_connection()
            was_connected = self._listener.is_connected
            try:
                await self._submit_with_current_models(drawing, graph, watch)
            except WorkflowRejected as rejected:
                raise await self._explained(rejected, drawing) from rejected
            return was_connected

    async def _submit_with_current_models(self, drawing: Drawing, graph: Graph, watch: JobWatch) -> None:
        """Retry if the server's models differ from the cached ones."""
        try:
            await self._submit(drawing.prompt_id, graph, watch)
        except WorkflowRejected as rejected:
            current = await self._graph(drawing) if rejected.is_unlisted else graph
            if current == graph:
                raise
            await self._submit(drawing.prompt_id, current, watch)

    async def _explained(self, rejected: WorkflowRejected, drawing: Drawing) -> WorkflowRejected:
        """Name the incompatible nodes of the workflow in the reason, if there are any."""
        problems: list[str] = []
        with contextlib.suppress(ServerUnavailable):
            problems = await self.check_compatibility(drawing.workflow or {})
        if not problems:
            return rejected
        nodes = summarize([problem.partition(": ")[0] for problem in problems])
        reason = f"the workflow does not fit the server: {nodes}"
        return WorkflowRejected(reason, f"{summarize(problems)}; {rejected.detail}")

    async def _submit(self, prompt_id: UUID, graph: Graph, watch: JobWatch) -> None:
        if watch.must_stop():
            raise JobCancelled("the job was stopped")
        try:
            await self._jobs.submit(prompt_id, graph)
        except WorkflowRejected:
            # The model may have been removed since the models were listed.
            self._discovery.clear_cache()
            raise
        if watch.must_stop():
            # The server may have processed the cancellation before the job.
            with contextlib.suppress(TransportError):
                await self._jobs.cancel(prompt_id)

    async def _is_known(self, prompt_id: UUID) -> bool:
        error: TransportError | None = None
        for _ in range(self._limits.look_attempts_max):
            try:
                return await self._jobs.find(prompt_id) is not JobState.UNKNOWN
            except TransportError as transport_error:
                error = transport_error
        reason = error.reason if error else "the server cannot be reached"
        raise ServerUnavailable(reason, str(error)) from error

    async def _graph(self, drawing: Drawing) -> Graph:
        try:
            return await self._resolver.graph(_with_workflow(drawing))
        except WorkflowError as problem:
            raise WorkflowRejected("the picture cannot be drawn so", str(problem)) from problem

    async def _collect(self, drawing: Drawing, watch: JobWatch, on_progress: OnProgress | None) -> Drawn:
        poller = JobPoller(drawing.prompt_id, self._jobs, self._listener, watch, self._limits, on_progress)
        state = await poller.wait_for_end()
        content, graph = await self._fetcher.fetch(drawing, state)
        checkpoint = checkpoint_of(graph, drawing.workflow or {})
        drawn = Drawn(content, checkpoint, await self._discovery.version())
        if on_progress is not None:
            on_progress(1.0)
        return drawn


def _with_workflow(drawing: Drawing) -> Drawing:
    return msgspec.structs.replace(drawing, workflow=drawing.workflow or text_to_image())


def sampler_nodes(graph: Graph) -> frozenset[str]:
    """The nodes whose progress is that of the picture."""
    return frozenset(node for node, content in graph.items() if "Sampler" in str(content.get("class_type")))


def socket_url(url: str, client_id: str) -> str:
    """The websocket URL of the server at `url`."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    query = "&".join(filter(None, (parts.query, f"clientId={client_id}")))
    return urlunsplit((scheme, parts.netloc, f"{parts.path.rstrip('/')}/ws", query, ""))


@contextlib.contextmanager
def _unknown() -> Iterator[None]:
    try:
        yield
    except TransportError as error:
        raise OutcomeUnknown(UNCLEAR, str(error)) from error
