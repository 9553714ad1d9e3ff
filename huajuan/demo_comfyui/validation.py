"""Validates a graph as ComfyUI does before queueing it, with errors of the same form."""

from typing import Any

from huajuan.demo_comfyui.nodes import NODES, Input, ModelFiles

Graph = dict[str, Any]
Error = dict[str, Any]
NUMBERS = {"INT": int, "FLOAT": float}


class GraphRefused(Exception):
    """The graph is rejected. `body` is the JSON of the response."""

    def __init__(self, error: Error, node_errors: dict[str, Any] | None = None) -> None:
        super().__init__(error["type"])
        self.body = {"error": error, "node_errors": node_errors or {}}


def error(kind: str, message: str, details: str = "", extra: dict[str, Any] | None = None) -> Error:
    return {"type": kind, "message": message, "details": details, "extra_info": extra or {}}


def validated(graph: Any, model_files: ModelFiles, *, is_old: bool) -> tuple[list[str], dict[str, Any]]:
    """The valid output nodes, and the errors of the others. Raises `GraphRefused` if none is valid."""
    graph = graph if isinstance(graph, dict) else {}
    _check_classes(graph, is_old=is_old)
    outputs = [node for node, content in graph.items() if NODES[content["class_type"]].is_output]
    if not outputs:
        raise GraphRefused(error("prompt_no_outputs", "Prompt has no outputs"))
    check = _Check(graph, model_files)
    valid = [node for node in outputs if check.is_valid(node, node)]
    if not valid:
        message = "Prompt outputs failed validation"
        raise GraphRefused(error("prompt_outputs_failed_validation", message), check.node_errors())
    return valid, check.node_errors()


def missing_node(node: str, name: str, *, is_old: bool) -> Error:
    """The error for an unknown node type, as before or since version 0.12."""
    kind = "invalid_prompt" if is_old else "missing_node_type"
    extra = {} if is_old else {"node_id": node, "class_type": name, "node_title": name}
    return error(kind, f"Cannot execute because node {name} does not exist.", f"Node ID '#{node}'", extra)


def linked(value: Any) -> bool:
    """Whether an input's value is a link to another node's output."""
    return isinstance(value, list)


def _check_classes(graph: Graph, *, is_old: bool) -> None:
    for node, content in graph.items():
        name = str(content.get("class_type", "")) if isinstance(content, dict) else ""
        if name not in NODES:
            raise GraphRefused(missing_node(node, name, is_old=is_old))


class _Check:
    def __init__(self, graph: Graph, model_files: ModelFiles) -> None:
        self._graph = graph
        self._stock = model_files
        self._errors: dict[str, list[Error]] = {}
        self._dependents: dict[str, set[str]] = {}
        self._path: list[str] = []
        self._known: dict[tuple[str, str], bool] = {}

    def is_valid(self, node: str, output: str) -> bool:
        """Whether a node and its upstream nodes are valid. Errors are stored by node."""
        if node in self._path:
            return self._store(node, output, [error("dependency_cycle", "Dependency cycle detected")])
        if (node, output) not in self._known:
            self._known[node, output] = self._validate(node, output)
        return self._known[node, output]

    def _validate(self, node: str, output: str) -> bool:
        self._path.append(node)
        kinds = self._stock.kind(self._graph[node]["class_type"]).inputs
        found = [self._input_errors(node, name, kind, output) for name, kind in kinds.items()]
        self._path.pop()
        own = [each for errors in found if errors for each in errors]
        return self._store(node, output, own) and None not in found

    def node_errors(self) -> dict[str, Any]:
        return {
            node: {
                "errors": errors,
                "dependent_outputs": sorted(self._dependents[node]),
                "class_type": self._graph[node]["class_type"],
            }
            for node, errors in self._errors.items()
        }

    def _store(self, node: str, output: str, errors: list[Error]) -> bool:
        if errors:
            self._errors.setdefault(node, errors)
            self._dependents.setdefault(node, set()).add(output)
        return not errors

    def _input_errors(self, node: str, name: str, kind: Input, output: str) -> list[Error] | None:
        """The errors of the input; `None` if only the linked node is invalid."""
        inputs = self._graph[node].get("inputs", {})
        if name not in inputs:
            return [error("required_input_missing", "Required input is missing", name, {"input_name": name})]
        if linked(value := inputs[name]):
            return self._link_errors(name, kind, value, output)
        return _value_errors(name, kind, value)

    def _link_errors(self, name: str, kind: Input, link: list[Any], output: str) -> list[Error] | None:
        if len(link) != 2 or not isinstance(link[1], int):
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return [_about("bad_linked_input", message, name, kind, link)]
        if (source := self._graph.get(str(link[0]))) is None:
            message = "Exception when validating node"
            return [_about("exception_during_inner_validation", message, name, kind, link)]
        returns = NODES[source["class_type"]].returns
        if link[1] >= len(returns) or returns[link[1]] != kind.kind:
            message = "Return type mismatch between linked nodes"
            return [_about("return_type_mismatch", message, name, kind, link)]
        return [] if self.is_valid(str(link[0]), output) else None


def _value_errors(name: str, kind: Input, value: Any) -> list[Error]:
    if isinstance(kind.kind, list):
        return [] if value in kind.kind else [_not_in_list(name, kind, value)]
    if (convert := NUMBERS.get(kind.kind)) is not None:
        return _number_errors(name, kind, value, convert)
    if kind.kind == "STRING" and isinstance(value, str):
        return []
    return [_about("invalid_input_type", f"Failed to convert to {kind.kind}", name, kind, value)]


def _number_errors(name: str, kind: Input, value: Any, convert: type[int] | type[float]) -> list[Error]:
    try:
        number = convert(value)
    except (TypeError, ValueError, OverflowError):
        message = f"Failed to convert an input value to a {kind.kind} value"
        return [_about("invalid_input_type", message, name, kind, value)]
    if kind.least is not None and number < kind.least:
        message = f"Value {number} smaller than min of {kind.least}"
        return [_about("value_smaller_than_min", message, name, kind, value)]
    if kind.most is not None and number > kind.most:
        return [
            _about(
                "value_bigger_than_max", f"Value {number} bigger than max of {kind.most}", name, kind, value
            )
        ]
    return []


def _not_in_list(name: str, kind: Input, value: Any) -> Error:
    options = kind.kind if len(kind.kind) <= 20 else f"(list of length {len(kind.kind)})"
    found = _about("value_not_in_list", "Value not in list", name, kind, value)
    return found | {"details": f"{name}: {value!r} not in {options}"}


def _about(kind: str, message: str, name: str, about: Input, value: Any) -> Error:
    extra = {"input_name": name, "input_config": about.description(), "received_value": value}
    return error(kind, message, name, extra)
