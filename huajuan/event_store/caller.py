"""Who is calling, and in answer to which request: set at the door, written into every fact."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class Caller:
    """`actor` is an account id, `correlation_id` the request's."""

    actor: UUID | None = None
    correlation_id: str | None = None


_NOBODY = Caller()
_caller: ContextVar[Caller] = ContextVar("caller", default=_NOBODY)


def caller() -> Caller:
    return _caller.get()


@contextmanager
def calling(actor: UUID | None = None, correlation_id: str | None = None) -> Iterator[None]:
    """Facts appended inside name this actor; a part not given is kept from outside."""
    outer = _caller.get()
    token = _caller.set(Caller(actor or outer.actor, correlation_id or outer.correlation_id))
    try:
        yield
    finally:
        _caller.reset(token)


def act_as(actor: UUID) -> None:
    """For the rest of this task, facts name this actor."""
    _caller.set(Caller(actor, _caller.get().correlation_id))
