"""Converts the server's description of a rejected or failed job into an exception."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from huajuan.inference_client.errors import DrawingFailed, JobCancelled, WorkflowRejected
from huajuan.inference_client.jobs import messages

CODE = re.compile(r"[A-Za-z][A-Za-z0-9_. -]{0,60}")
OUT_OF_MEMORY = re.compile(r"out.?of.?memory|can't allocate|not enough memory", re.IGNORECASE)
NOT_IN_LIST = "value_not_in_list"
REFUSED = "the server refused the workflow"
NODES_NAMED_MAX = 3
# Values of the failed node. They may include the prompt, which must not be logged.
INPUTS = {"current_inputs", "current_outputs"}


def rejection(body: Any, characters_max: int) -> WorkflowRejected:
    """The exception for a rejected graph. `body` is the decoded body of POST /prompt, of any type.

    The general error is often empty, so the errors of nodes come first. `reason` contains only codes and
    input names, for messages may contain tracebacks and paths.
    """
    body = body if isinstance(body, dict) else {}
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


def _failure_reason(error: dict[str, Any]) -> str:
    kind, message = str(error.get("exception_type", "")), str(error.get("exception_message", ""))
    if OUT_OF_MEMORY.search(f"{kind} {message}") or kind == "MemoryError":
        return "the server ran out of memory"
    node = _code(error.get("node_type"))
    return f"the server failed while drawing, in {node}" if node else "the server failed while drawing"


def _node_causes(node_errors: Any) -> Iterator[str]:
    nodes = node_errors.values() if isinstance(node_errors, dict) else ()
    for node in nodes:
        errors = node.get("errors") if isinstance(node, dict) else None
        for error in errors if isinstance(errors, list) else ():
            yield _named(error, _code(node.get("class_type")))


def _general_cause(error: Any) -> Iterator[str]:
    if isinstance(error, dict) and _code(error.get("type")):
        yield _named(error, "")
    elif isinstance(error, str) and _code(error):
        yield _code(error)


def _named(error: Any, node: str) -> str:
    error = error if isinstance(error, dict) else {}
    extra = error.get("extra_info")
    extra = extra if isinstance(extra, dict) else {}
    where = ".".join(filter(None, (node or _code(extra.get("class_type")), _code(extra.get("input_name")))))
    code = _code(error.get("type")) or "unnamed error"
    return f"{code} ({where})" if where else code


def _code(text: Any) -> str:
    return text if isinstance(text, str) and CODE.fullmatch(text) else ""


def _detail(data: Any, characters_max: int) -> str:
    if isinstance(data, dict):
        data = {name: value for name, value in data.items() if name not in INPUTS}
    return msgspec.json.encode(data).decode()[:characters_max]
