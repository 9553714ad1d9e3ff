"""Who is calling, and in answer to which request: set at the door, written into every fact."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID, uuid4


class Command:
    """A request that may be run again: what it changes is marked, so that a later run finds it and changes nothing.

    `since` is a position of the log before the first run. Changes are told apart by their number, which
    is the same in every run.
    """

    def __init__(self, command_id: UUID, since: int) -> None:
        self.since = since
        self._id = command_id
        self._changes = 0

    @property
    def mark(self) -> str:
        """Ends the correlation id of the facts that the next change states."""
        return f"#{self._id.hex}.{self._changes}"

    def changed(self) -> None:
        self._changes += 1

    def id_of(self, kind: str) -> UUID:
        """The id of what this command makes, the same in every run."""
        return UUID(bytes=hashlib.sha256(self._id.bytes + kind.encode()).digest()[:16], version=5)


@dataclass(frozen=True)
class Caller:
    """`actor` is an account id, `correlation_id` the request's."""

    actor: UUID | None = None
    correlation_id: str | None = None
    command: Command | None = None

    @property
    def signature(self) -> str | None:
        """What facts carry as their correlation id."""
        return f"{self.correlation_id or ''}{self.command.mark}" if self.command else self.correlation_id


_NOBODY = Caller()
_caller: ContextVar[Caller] = ContextVar("caller", default=_NOBODY)


def caller() -> Caller:
    return _caller.get()


@contextmanager
def calling(actor: UUID | None = None, correlation_id: str | None = None) -> Iterator[None]:
    """Facts appended inside name this actor; a part not given is kept from outside."""
    outer = _caller.get()
    token = _caller.set(Caller(actor or outer.actor, correlation_id or outer.correlation_id, outer.command))
    try:
        yield
    finally:
        _caller.reset(token)


def answer(correlation_id: str) -> None:
    """For the rest of this task, facts answer this request."""
    _caller.set(Caller(correlation_id=correlation_id))


def act_as(actor: UUID) -> None:
    """For the rest of this task, facts name this actor."""
    outer = _caller.get()
    _caller.set(Caller(actor, outer.correlation_id, outer.command))


def carry_out(command: Command) -> None:
    """For the rest of this task, what is changed is marked as this command's."""
    outer = _caller.get()
    _caller.set(Caller(outer.actor, outer.correlation_id, command))


def new_id(kind: str) -> UUID:
    """A new id, or in a request that may be run again the one that every run of it gives to this kind."""
    command = _caller.get().command
    return command.id_of(kind) if command else uuid4()
