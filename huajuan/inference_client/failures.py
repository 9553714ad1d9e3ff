"""Turn what the server says of a refused or failed job into a short reason and a detail for the log."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from huajuan.inference_client.errors import Cancelled, DrawingFailed, Rejected
from huajuan.inference_client.jobs import messages

CODE = re.compile(r"[A-Za-z][A-Za-z0-9_. -]{0,60}")
OUT_OF_MEMORY = re.compile(r"out.?of.?memory|can't allocate|not enough memory", re.IGNORECASE)
NOT_IN_LIST = "value_not_in_list"
REFUSED = "the server refused the workflow"
NODES_NAMED_MAX = 3
# Of a node that failed; among them may be the prompt, which no log may have.
INPUTS = {"current_inputs", "current_outputs"}


def rejection(answer: Any, characters_max: int) -> Rejected:
    """The error for a refused graph. `answer` is the decoded body of POST /prompt, of any shape.

    The general error often says nothing, then the nodes' own errors do. Only codes and names of inputs
    reach the reason: messages may carry traces and paths.
    """
    answer = answer if isinstance(answer, dict) else {}
    causes = list(_node_causes(answer.get("node_errors"))) or list(_general_cause(answer.get("error")))
    named = ", ".join(dict.fromkeys(causes[:NODES_NAMED_MAX]))
    return Rejected(
        f"{REFUSED}: {named}" if named else REFUSED,
        _detail(answer, characters_max),
        is_unlisted=any(cause.startswith(NOT_IN_LIST) for cause in causes),
    )


def failure(entry: dict[str, Any], characters_max: int) -> DrawingFailed:
    """The error for a job whose history entry says that it failed or was interrupted."""
    said = dict(messages(entry))
    if "execution_interrupted" in said:
        return Cancelled("the job was stopped", _detail(said["execution_interrupted"], characters_max))
    error = said.get("execution_error", {})
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


def _detail(said: Any, characters_max: int) -> str:
    if isinstance(said, dict):
        said = {name: value for name, value in said.items() if name not in INPUTS}
    return msgspec.json.encode(said).decode()[:characters_max]
