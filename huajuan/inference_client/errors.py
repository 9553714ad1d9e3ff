"""The exceptions of the client with what a caller may conclude from each, and those for the server's errors.

InferenceError
├── DrawingFailed         final: there will be no picture
│   ├── WorkflowRejected  the server rejected the graph; sending it again would change nothing
│   ├── InvalidPicture    the job succeeded, but its output is not the requested picture
│   ├── JobCancelled      the job was stopped on request
│   ├── JobLost           the server does not know the job: it was restarted, or its queue was cleared
│   └── JobTimeout        a time limit passed, and the job was cancelled
├── ServerUnavailable     this call submitted nothing: another server may be tried
└── OutcomeUnknown        the job may be running: `finish` it later
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from huajuan.inference_client.models import mapping

CODE = re.compile(r"[A-Za-z][A-Za-z0-9_. -]{0,60}")
OUT_OF_MEMORY = re.compile(r"out.?of.?memory|can't allocate|not enough memory", re.IGNORECASE)
NOT_IN_LIST = "value_not_in_list"
REFUSED = "the server refused the workflow"
NODES_NAMED_MAX = 3
# Values of the failed node. They may include the prompt, which must not be logged.
INPUTS = {"current_inputs", "current_outputs"}


class InferenceError(Exception):
    """The base class of this package's exceptions.

    `reason` is one short sentence that end users may read. `detail` is for logs only: it may hold the
    server's response, with paths and tracebacks. `label` is for metrics.
    """

    label = "failed"

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class DrawingFailed(InferenceError):
    """The job ended without a picture."""


class WorkflowRejected(DrawingFailed):
    """The graph was rejected before drawing. `is_unlisted`: a value is not in the server's list."""

    label = "refused"

    def __init__(self, reason: str, detail: str = "", *, is_unlisted: bool = False) -> None:
        super().__init__(reason, detail)
        self.is_unlisted = is_unlisted


class InvalidPicture(DrawingFailed):
    """The picture is missing, damaged, too large or of the wrong size."""


class JobCancelled(DrawingFailed):
    """The job was stopped on request."""

    label = "cancelled"


class JobLost(DrawingFailed):
    """The job is neither in the server's queue nor in its history."""

    label = "lost"


class JobTimeout(DrawingFailed):
    """A time limit passed. `worker_stuck`: the server made no progress, or the cancellation had no effect."""

    label = "timed_out"

    def __init__(self, reason: str, detail: str = "", *, worker_stuck: bool = False) -> None:
        super().__init__(reason, detail)
        self.worker_stuck = worker_stuck


class ServerUnavailable(InferenceError):
    """This call submitted nothing. If an earlier `draw` of the same id may have, use `finish`."""

    label = "unavailable"


class OutcomeUnknown(InferenceError):
    """The server stopped answering while the job may be queued or running."""

    label = "unknown"


def rejection(body: Any, characters_max: int) -> WorkflowRejected:
    """The exception for a rejected graph. `body` is the decoded body of POST /prompt, of any type.

    The general error is often empty, so the errors of nodes come first. `reason` contains only codes and
    input names, for messages may contain tracebacks and paths.
    """
    body = mapping(body)
    causes = list(_node_causes(body.get("node_errors"))) or list(_general_cause(body.get("error")))
    named = ", ".join(dict.fromkeys(causes[:NODES_NAMED_MAX]))
    return WorkflowRejected(
        f"{REFUSED}: {named}" if named else REFUSED,
        _detail(body, characters_max),
        is_unlisted=any(cause.startswith(NOT_IN_LIST) for cause in causes),
    )


def failure(entry: dict[str, Any], characters_max: int) -> DrawingFailed:
    """The exception for a job whose history entry is failed or interrupted."""
    events = dict(messages(entry))
    if "execution_interrupted" in events:
        return JobCancelled("the job was stopped", _detail(events["execution_interrupted"], characters_max))
    error = events.get("execution_error", {})
    return DrawingFailed(_failure_reason(error), _detail(error, characters_max))


def messages(entry: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The events of a history entry as (type, data), oldest first, without malformed ones."""
    listed = mapping(entry.get("status")).get("messages")
    pairs = [pair for pair in listed if isinstance(pair, list)] if isinstance(listed, list) else []
    return [(str(pair[0]), pair[1]) for pair in pairs if len(pair) == 2 and isinstance(pair[1], dict)]


def _failure_reason(error: dict[str, Any]) -> str:
    kind, message = str(error.get("exception_type", "")), str(error.get("exception_message", ""))
    if OUT_OF_MEMORY.search(f"{kind} {message}") or kind == "MemoryError":
        return "the server ran out of memory"
    node = _code(error.get("node_type"))
    return f"the server failed while drawing, in {node}" if node else "the server failed while drawing"


def _node_causes(node_errors: Any) -> Iterator[str]:
    for node in map(mapping, mapping(node_errors).values()):
        errors = node.get("errors")
        for error in errors if isinstance(errors, list) else ():
            yield _named(error, _code(node.get("class_type")))


def _general_cause(error: Any) -> Iterator[str]:
    if isinstance(error, dict) and _code(error.get("type")):
        yield _named(error, "")
    elif isinstance(error, str) and _code(error):
        yield _code(error)


def _named(error: Any, node: str) -> str:
    error = mapping(error)
    extra = mapping(error.get("extra_info"))
    where = ".".join(filter(None, (node or _code(extra.get("class_type")), _code(extra.get("input_name")))))
    code = _code(error.get("type")) or "unnamed error"
    return f"{code} ({where})" if where else code


def _code(text: Any) -> str:
    return text if isinstance(text, str) and CODE.fullmatch(text) else ""


def _detail(data: Any, characters_max: int) -> str:
    if isinstance(data, dict):
        data = {name: value for name, value in data.items() if name not in INPUTS}
    return msgspec.json.encode(data).decode()[:characters_max]
