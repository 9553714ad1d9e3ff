"""Errands: work done aside, for which nobody waits, each in a task of its own."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

_logger = structlog.get_logger(__name__)


class Errands:
    """What goes wrong in one is logged by kind, and nothing more comes of it."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _logger.warning("not tidied up", task=task.get_name(), error=type(error).__name__)
