"""Dispatch: in each process one loop per inference server claims jobs while the server can run one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import structlog

from huajuan.domain.inference_servers import InferenceServers
from huajuan.event_store.errors import DatabaseFailure
from huajuan.jobs.runner import TOO_LONG, JobRunner
from huajuan.jobs.servers import InferenceServer
from huajuan.runtime.fail_points import at
from huajuan.runtime.periodic import cancel_tasks, periodic, running
from huajuan.storage.pictures import StorageUnavailable

# The reason is stored in events and shown to users, so its wording does not change.
NO_SERVER_AVAILABLE = "no painter could be reached"
_logger = structlog.get_logger(__name__)


@asynccontextmanager
async def dispatching(job_runner: JobRunner, dispatcher: "Dispatcher") -> AsyncIterator[None]:
    """Claims and runs jobs during the block. At its end unfinished jobs are released to other processes."""
    limits = job_runner.limits
    async with running(
        dispatcher.run(),
        periodic("fail overdue jobs", dispatcher.fail_overdue_jobs, limits.overdue_interval_seconds),
        periodic("renew job leases", job_runner.renew_leases, limits.heartbeat_seconds, run_at_start=False),
    ):
        yield
    await job_runner.close()


class Dispatcher:
    """Jobs are kept in the database alone, so that any number of processes may dispatch."""

    def __init__(self, job_runner: JobRunner) -> None:
        self.job_runner = job_runner
        self._limits = job_runner.limits
        self._wakeups: dict[str, asyncio.Event] = {}
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._removed: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Run one loop per server until cancelled. Servers may be added and removed meanwhile."""
        try:
            wakeup = self._wakeups.setdefault("", asyncio.Event())
            interval = self._limits.servers_refresh_seconds
            await periodic("update servers", self._update_loops, interval, wakeup=wakeup)
        finally:
            await cancel_tasks([*self._loops.values(), *self._removed])

    async def _update_loops(self) -> None:
        await self.refresh_servers()
        servers, loops = self.job_runner.servers.all, self._loops
        for url in servers.keys() - loops.keys():
            loops[url] = asyncio.create_task(self._serve(servers[url]), name=f"dispatch {url}")
        # The loop of a removed server ends by itself: it must run a job that it has just claimed.
        self._removed |= {loops.pop(url) for url in loops.keys() - servers.keys()}
        self._removed -= {task for task in self._removed if task.done()}

    async def refresh_servers(self) -> None:
        """Read which servers admins have added and removed."""
        servers, store = self.job_runner.servers, self.job_runner.store
        try:
            recorded = await store.find(InferenceServers, store.stream_ids.inference_servers())
        except DatabaseFailure as error:
            _logger.warning("inference servers not refreshed", error=type(error).__name__)
            return
        if recorded is not None:
            await servers.update(recorded.urls(servers.configured))

    def wake(self) -> None:
        """Claim at once: there is a new job, or a server is free."""
        for event in self._wakeups.values():
            event.set()

    def on_notification(self, payload: str) -> None:
        """A notification of the queue: the id of a job that has ended, or nothing for a waiting job."""
        if payload:
            with suppress(ValueError):
                image_id = UUID(payload)
                self.job_runner.completions.notify(image_id, None)
                self.job_runner.stop(image_id)
        self.wake()

    def on_listening(self, is_hearing: bool, /) -> None:
        if is_hearing:
            self.wake()

    async def _serve(self, server: InferenceServer) -> None:
        """Claim jobs for the server until it is removed."""
        while self.job_runner.servers.all.get(server.url) is server:
            await asyncio.sleep(server.cooldown_seconds)
            claimed = False
            try:
                if not self.job_runner.has_job_at(server):
                    await server.check_while_idle()
                if not server.cooldown_seconds and await server.ensure_reachable():
                    claimed = await self._claim(server)
            except DatabaseFailure as error:
                _logger.warning("no job claimed", server=server.url, error=type(error).__name__)
            except Exception as error:  # the loop of the server goes on
                _logger.error("no job claimed", server=server.url, exc_info=error)
            if not claimed:
                await self._pause(server.url)

    async def _claim(self, server: InferenceServer) -> bool:
        servers = self.job_runner.servers
        claimed = await self.job_runner.queue.claim(
            server.url,
            server.jobs_max,
            others=servers.expected() - {server.url},
            lacking=servers.incompatible(),
            checked=servers.checked_workflow,
        )
        if claimed is not None:
            at("draw.claimed")
            self.job_runner.start(claimed, server).add_done_callback(lambda _: self.wake())
        return claimed is not None

    async def _pause(self, url: str) -> None:
        wakeup = self._wakeups.setdefault(url, asyncio.Event())
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.claim_interval_seconds):
                await wakeup.wait()
        wakeup.clear()

    async def fail_overdue_jobs(self) -> int:
        """Fail the waiting jobs past their deadline, or all while no server answers. Returns how many."""
        runner, limits = self.job_runner, self._limits
        unavailable = runner.servers.seconds_without_server() > limits.no_server_timeout_seconds
        now, batch_max = runner.store.clock(), limits.overdue_batch_max
        overdue = await runner.queue.claim_overdue(now, batch_max, all_waiting=unavailable)
        for claimed in overdue:
            at("give_up.claimed")
            try:
                await runner.fail(claimed, NO_SERVER_AVAILABLE if unavailable else TOO_LONG)
            except StorageUnavailable as error:  # recorded; the next holder of the job removes its file
                _logger.warning("picture not removed", image_id=str(claimed.image_id), reason=str(error))
        return len(overdue)
