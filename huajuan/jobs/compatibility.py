"""Tells of each painter, also of those that come later, whether the workflow fits it."""

import asyncio

import structlog

from huajuan.inference_client import Graph, ServerUnavailable, with_checkpoint
from huajuan.jobs.limits import DispatchLimits
from huajuan.jobs.servers import Painter, Painters
from huajuan.jobs.workflows import Workflows

_logger = structlog.get_logger(__name__)


async def keep_fitting(
    painters: Painters, workflows: Workflows, limits: DispatchLimits, checkpoint: str = ""
) -> None:
    """For ever: try the workflow, with the checkpoint if one is named, on each painter as soon as it answers.

    One that does not fit gets jobs of other workflows, and of this one only while no better server answers.
    """
    workflow = with_checkpoint(await workflows.find(workflows.current), checkpoint)
    painters.checked_workflow = workflows.current
    tried: set[Painter] = set()
    async with asyncio.TaskGroup() as group:
        while True:
            painters.have_come.clear()
            here = set(painters.all.values())
            for painter in here - tried:
                group.create_task(_keep_trying(painter, painters, workflow, limits))
            tried = here
            await painters.have_come.wait()


async def _keep_trying(painter: Painter, painters: Painters, workflow: Graph, limits: DispatchLimits) -> None:
    """Until it fits, for somebody may give it what it lacks, or until it is to draw no more."""
    is_told, pause_seconds = False, limits.fitting_pause_seconds
    while painters.all.get(painter.url) is painter:
        try:
            problems = await painter.host.misfits(workflow)
        except ServerUnavailable as unavailable:
            if not is_told:
                _logger.warning(
                    "workflow not tried: painter unavailable",
                    host=painter.url,
                    reason=unavailable.reason,
                    detail=unavailable.detail,
                )
            is_told = True
            # It may be a proxy that will never say.
            next_seconds = min(pause_seconds * 2, limits.fitting_pause_seconds_max)
        else:
            _tell(painter, problems)
            if not problems:
                return
            # Somebody may be about to give it what it lacks.
            pause_seconds = next_seconds = limits.fitting_pause_seconds
        await asyncio.sleep(pause_seconds)
        pause_seconds = next_seconds


def _tell(painter: Painter, problems: list[str]) -> None:
    """What has not been told yet."""
    before = painter.problems
    painter.record_problems(problems)
    if problems and problems != before:
        _logger.error("workflow does not fit the painter", host=painter.url, problems=problems)
    elif before and not problems:
        _logger.info("workflow fits the painter now", host=painter.url)
