"""Checks of each inference server, also of those added later, for compatibility with the current workflow."""

import asyncio

import structlog

from huajuan.inference_client import Graph, ServerUnavailable, with_checkpoint
from huajuan.jobs.queue import DispatchLimits
from huajuan.jobs.servers import InferenceServer, ServerPool
from huajuan.jobs.workflows import WorkflowStore

_logger = structlog.get_logger(__name__)


async def run_compatibility_checks(
    servers: ServerPool, workflows: WorkflowStore, limits: DispatchLimits, checkpoint: str = ""
) -> None:
    """Check each server as soon as it answers, with `checkpoint` if it is given. Runs until cancelled.

    An incompatible server gets jobs of other workflows, and jobs of this one only while no better server
    answers.
    """
    workflow = with_checkpoint(await workflows.find(workflows.current), checkpoint)
    servers.checked_workflow = workflows.current
    checked: set[InferenceServer] = set()
    async with asyncio.TaskGroup() as group:
        while True:
            servers.added.clear()
            present = set(servers.all.values())
            for server in present - checked:
                group.create_task(_check_until_compatible(server, servers, workflow, limits))
            checked = present
            await servers.added.wait()


async def _check_until_compatible(
    server: InferenceServer, servers: ServerPool, workflow: Graph, limits: DispatchLimits
) -> None:
    """Repeat the check until the server is compatible (its models may be installed later) or removed."""
    is_logged, pause_seconds = False, limits.compatibility_retry_seconds
    while servers.all.get(server.url) is server:
        try:
            problems = await server.client.check_compatibility(workflow)
        except ServerUnavailable as unavailable:
            if not is_logged:
                _logger.warning(
                    "workflow not checked: inference server unavailable",
                    server=server.url,
                    reason=unavailable.reason,
                    detail=unavailable.detail,
                )
            is_logged = True
            # The pauses grow: behind a proxy the server may never describe its nodes.
            next_seconds = min(pause_seconds * 2, limits.compatibility_retry_seconds_max)
        else:
            _record(server, problems)
            if not problems:
                return
            pause_seconds = next_seconds = limits.compatibility_retry_seconds
        await asyncio.sleep(pause_seconds)
        pause_seconds = next_seconds


def _record(server: InferenceServer, problems: list[str]) -> None:
    """Store the result, and log it if it has changed."""
    before = server.problems
    server.record_problems(problems)
    if problems and problems != before:
        _logger.error("workflow incompatible with the inference server", server=server.url, problems=problems)
    elif before and not problems:
        _logger.info("workflow compatible with the inference server now", server=server.url)
