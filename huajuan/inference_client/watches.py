"""What the socket tells of each job somebody waits for: life, progress, and that a look is worthwhile."""

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import msgspec

from huajuan.inference_client.errors import ServerUnavailable

Clock = Callable[[], float]
LAST_EVENTS = frozenset({"execution_success", "execution_error", "execution_interrupted"})


class Event(msgspec.Struct, frozen=True):
    """A text frame of the server's socket."""

    type: str
    data: dict[str, Any] = msgspec.field(default_factory=dict)


class Watch:
    """One waiter's view of its job. The reader of the socket only notes; the waiter acts on what is noted."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sampler_nodes: frozenset[str] = frozenset()
        self.stirred = asyncio.Event()
        self.progress = 0.0
        self.may_have_ended = False
        self.cancel_asked = False
        self.heard_at: float | None = None
        self.progressed_at: float | None = None

    def expect(self, sampler_nodes: frozenset[str]) -> None:
        """Take progress from these nodes alone, if there are any: others report too."""
        self._sampler_nodes = sampler_nodes

    def note(self, event: Event) -> None:
        self.heard_at = self._clock()
        if event.type in {"progress", "progress_state", "executing", "executed"}:
            self.progressed_at = self.heard_at
        if event.type == "progress":
            self._note_progress(event.data)
        if event.type in LAST_EVENTS or (event.type == "executing" and event.data.get("node") is None):
            self.may_have_ended = True
        self.stirred.set()

    def note_cancel(self) -> None:
        self.cancel_asked = self.may_have_ended = True
        self.stirred.set()

    def must_stop(self) -> bool:
        """Asked anew each time, for the answer changes while one waits."""
        return self.cancel_asked

    def _note_progress(self, data: dict[str, Any]) -> None:
        if self._sampler_nodes and data.get("node") not in self._sampler_nodes:
            return
        self.progress = max(self.progress, _fraction(data.get("value"), data.get("max")))


class Watches:
    """All jobs waited for through one socket, at most `jobs_max` of them; `progressed_at` is when any last did."""

    def __init__(self, clock: Clock, jobs_max: int) -> None:
        self._clock = clock
        self._jobs_max = jobs_max
        self._by_job: dict[str, list[Watch]] = {}
        self.progressed_at = float("-inf")

    @contextmanager
    def watch(self, prompt_id: UUID) -> Iterator[Watch]:
        """A watch kept while the block runs; ServerUnavailable when too many run already."""
        if sum(map(len, self._by_job.values())) >= self._jobs_max:
            raise ServerUnavailable("too many pictures are being drawn")
        watch = Watch(self._clock)
        self._by_job.setdefault(str(prompt_id), []).append(watch)
        try:
            yield watch
        finally:
            self._remove(str(prompt_id), watch)

    def note(self, event: Event) -> None:
        """Events of other jobs, and those which name none, concern nobody here."""
        prompt_id = event.data.get("prompt_id")
        for watch in self._by_job.get(prompt_id, ()) if isinstance(prompt_id, str) else ():
            watch.note(event)
            self.progressed_at = max(self.progressed_at, watch.progressed_at or self.progressed_at)

    def note_cancel(self, prompt_id: UUID) -> None:
        for watch in self._by_job.get(str(prompt_id), ()):
            watch.note_cancel()

    def __bool__(self) -> bool:
        return bool(self._by_job)

    def _remove(self, prompt_id: str, watch: Watch) -> None:
        self._by_job[prompt_id].remove(watch)
        if not self._by_job[prompt_id]:
            del self._by_job[prompt_id]


def _fraction(value: Any, most: Any) -> float:
    try:
        part = float(value) / float(most)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return 0.0
    return min(1.0, max(0.0, part)) if math.isfinite(part) else 0.0
