"""The request context that is written into events, and the detection of commands that already ran."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from huajuan.postgres.statements import Statements

# Events that an older program appended carry the id at the end of `correlation_id`, followed by the quotation
# mark that ends the JSON string. A text cannot imitate it: a quotation mark in a text is escaped.
_FIND_CHANGE = """
SELECT e.originator_id, max(e.notification_id) FROM log.huajuan_events e
 WHERE e.originator_id = ANY(%(streams)s) AND e.notification_id > %(since)s
   AND (convert_from(e.state, 'UTF8')::json ->> 'command_id' = %(command_id)s
        OR position(%(suffix)s::bytea IN e.state) > 0)
 GROUP BY e.originator_id
"""


class IdempotentCommand:
    """A command that may run again. Each of its changes has an id, so that a repetition finds the first one.

    `since` is a position of the log before the first execution. Changes are numbered in the order of the
    code, which is the same in each execution.
    """

    def __init__(self, command_id: UUID, since: int) -> None:
        self.since = since
        self._id = command_id
        self._changes = 0

    @property
    def change_id(self) -> str:
        """The `command_id` of the events of the next change."""
        return f"{self._id.hex}.{self._changes}"

    def count_change(self) -> None:
        self._changes += 1

    def derive_id(self, purpose: str) -> UUID:
        """An id for what this command creates, the same in each execution."""
        return UUID(bytes=hashlib.sha256(self._id.bytes + purpose.encode()).digest()[:16], version=5)


@dataclass(frozen=True)
class RequestContext:
    """`actor` is an account id, `correlation_id` the id of the request."""

    actor: UUID | None = None
    correlation_id: str | None = None
    command: IdempotentCommand | None = None

    @property
    def command_id(self) -> str | None:
        return self.command.change_id if self.command else None


_NO_REQUEST = RequestContext()
_context: ContextVar[RequestContext] = ContextVar("request_context", default=_NO_REQUEST)


def current_context() -> RequestContext:
    return _context.get()


@contextmanager
def with_request_context(actor: UUID | None = None, correlation_id: str | None = None) -> Iterator[None]:
    """Events appended in this block carry these values. A value that is not given stays as it was."""
    outer = _context.get()
    token = _context.set(
        RequestContext(actor or outer.actor, correlation_id or outer.correlation_id, outer.command)
    )
    try:
        yield
    finally:
        _context.reset(token)


def set_correlation_id(correlation_id: str) -> None:
    """Starts a new context for the rest of this task."""
    _context.set(RequestContext(correlation_id=correlation_id))


def set_actor(actor: UUID) -> None:
    """Sets the actor for the rest of this task."""
    _context.set(replace(_context.get(), actor=actor))


def set_command(command: IdempotentCommand) -> None:
    """Sets the command for the rest of this task."""
    _context.set(replace(_context.get(), command=command))


def new_id(purpose: str) -> UUID:
    """A random id. In an idempotent command: the id that each execution derives for this purpose."""
    command = _context.get().command
    return command.derive_id(purpose) if command else uuid4()


async def find_change(
    statements: Statements, command: IdempotentCommand, streams: Iterable[UUID]
) -> dict[UUID, int]:
    """The last position of the command's next change, by stream. Empty where it was not made yet."""
    values = {
        "streams": list(streams),
        "since": command.since,
        "command_id": command.change_id,
        "suffix": f'#{command.change_id}"'.encode(),
    }
    # Never prepared: the better index depends on how far `since` is behind the end of the log.
    return dict(await statements.run(_FIND_CHANGE, values, prepare=False))
