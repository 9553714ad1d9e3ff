"""How far a rebuild has come, how fast it is, and how long it has to go."""

import time
from collections.abc import Callable

import msgspec

from huajuan.projections.rebuild.records import Note


class Progress(msgspec.Struct, frozen=True):
    """The log is read up to `position` of `head`; `doing` says what is being done."""

    doing: str
    position: int
    head: int
    events_per_second: float


Tell = Callable[[Progress], None]


class Telling:
    """Tells the terminal and the note."""

    def __init__(self, note: Note, tell: Tell) -> None:
        self._note = note
        self._tell = tell
        self._began = time.monotonic()
        self.position = 0
        self.head = 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def come_to(self, position: int, head: int, doing: str = "folding") -> None:
        self.position, self.head = position, max(head, position)
        rate = position / max(self.seconds, 1e-6)
        self._note.move(position, self.head, rate)
        self._tell(Progress(doing, position, self.head, rate))

    def do(self, doing: str) -> None:
        self.come_to(self.position, self.head, doing)
