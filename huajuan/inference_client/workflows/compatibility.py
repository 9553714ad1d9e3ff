"""Compares a workflow with a server's node types, as described by /object_info."""

from collections.abc import Iterator
from typing import Any

from huajuan.inference_client.workflows.fill import SAMPLERS, SEED_SENT_MAX
from huajuan.inference_client.workflows.node_types import ANY, CHOICE, NodeInput, NodeType, parse_node_type
from huajuan.inference_client.workflows.placeholders import (
    Graph,
    PlaceholderSlot,
    describe_node,
    is_link,
    slots,
)

PROBLEM_CHARACTERS_MAX = 300
NUMBERS = {"INT", "FLOAT"}
TEXT_PLACEHOLDERS = {"prompt", "negative_prompt", "checkpoint", "sampler", "scheduler", "prefix"}
# The values of placeholders in lists of choices. A checkpoint may have any value.
CHOICE_VALUES = {
    "sampler": frozenset(sampler for sampler, _ in SAMPLERS.values()),
    "scheduler": frozenset(scheduler for _, scheduler in SAMPLERS.values()),
}


def find_problems(workflow: Graph, descriptions: dict[str, Any]) -> list[str]:
    """One line for each incompatible node, input and placeholder.

    `workflow` must have passed `check_placeholders`. `descriptions` are the server's, by class, of any type.
    """
    known = {name: parse_node_type(described) for name, described in descriptions.items()}
    types = {node: known[c["class_type"]] for node, c in workflow.items() if c["class_type"] in known}
    return [_printable(problem) for problem in _Comparison(workflow, types).problems()]


def _printable(problem: str) -> str:
    """In one line: the server's names of types may have any characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in problem[:PROBLEM_CHARACTERS_MAX])


class _Comparison:
    def __init__(self, workflow: Graph, types: dict[str, NodeType]) -> None:
        self._workflow = workflow
        self._types = types

    def problems(self) -> Iterator[str]:
        for node in self._workflow:
            if node not in self._types:
                yield f"{describe_node(self._workflow, node)}: the server has no such kind of node"
            else:
                yield from self._node_problems(node, self._types[node])
        for slot in slots(self._workflow):
            if slot.node in self._types:
                yield from self._placeholder_problems(slot, self._types[slot.node])
        if len(self._types) == len(self._workflow) and not any(self._saves(node) for node in self._workflow):
            yield "no node keeps a picture: one such as SaveImage must be linked to an image"

    def _saves(self, node: str) -> bool:
        inputs, node_type = self._workflow[node]["inputs"], self._types[node]
        return node_type.is_output and any(
            is_link(inputs.get(name)) and node_input.takes("IMAGE")
            for name, node_input in node_type.inputs.items()
        )

    def _node_problems(self, node: str, node_type: NodeType) -> Iterator[str]:
        inputs = self._workflow[node]["inputs"]
        for name in node_type.required:
            if name not in inputs and not node_type.inputs[name].is_dynamic:
                yield f"{describe_node(self._workflow, node, name)}: it is required and not there"
        for name, node_input in node_type.inputs.items():
            if name in inputs and (problem := self._value_problem(node_input, inputs[name])):
                yield f"{describe_node(self._workflow, node, name)}: {problem}"

    def _value_problem(self, node_input: NodeInput, value: Any) -> str:
        if is_link(value):
            return self._link_problem(node_input, value[0], value[1])
        if isinstance(value, str) and PlaceholderSlot("", "", value).placeholders:
            return ""
        return node_input.problem(value)

    def _link_problem(self, node_input: NodeInput, source: str, output: int) -> str:
        if source not in self._types:
            return ""
        outputs, name = self._types[source].outputs, describe_node(self._workflow, source)
        if not 0 <= output < len(outputs):
            return f"it is linked to output {output} of {name}, which has {len(outputs)}"
        if not node_input.takes(outputs[output]):
            return f"it takes {node_input.type} and is linked to {outputs[output]} of {name}"
        return ""

    def _placeholder_problems(self, slot: PlaceholderSlot, node_type: NodeType) -> Iterator[str]:
        node_input = node_type.inputs.get(slot.input)
        if node_input is None and not node_type.is_open:
            problem = "the server does not know this input, so it would change nothing"
        else:
            problem = _placeholder_problem(slot, node_input) if node_input else ""
        if problem:
            names = ", ".join(f"{{{name}}}" for name in slot.placeholders)
            yield f"{describe_node(self._workflow, slot.node, slot.input)}, placeholder {names}: {problem}"


def _placeholder_problem(slot: PlaceholderSlot, node_input: NodeInput) -> str:
    if node_input.type in {ANY, "STRING", "BOOLEAN"} or node_input.is_dynamic:
        return ""
    if node_input.type == CHOICE:
        return _choice_problem(slot, node_input)
    if node_input.type not in NUMBERS:
        return f"it takes a link to {node_input.type}, no value"
    if not slot.is_whole or slot.placeholders[0] in TEXT_PLACEHOLDERS:
        return f"it takes a number ({node_input.type}), no text"
    if slot.placeholders[0] == "seed" and node_input.most is not None and node_input.most < SEED_SENT_MAX:
        return f"it takes seeds up to {node_input.most:.0f} only, and they go up to {SEED_SENT_MAX}"
    return ""


def _choice_problem(slot: PlaceholderSlot, node_input: NodeInput) -> str:
    if not slot.is_whole or slot.placeholders[0] not in TEXT_PLACEHOLDERS:
        return "it takes one of a list"
    if slot.placeholders[0] == "checkpoint":
        return _model_problem(slot, node_input)
    filled_with = CHOICE_VALUES.get(slot.placeholders[0])
    if (
        node_input.choices is None
        or filled_with is None
        or not filled_with.isdisjoint(map(str, node_input.choices))
    ):
        return ""
    return f"its list has none of {', '.join(sorted(filled_with))}"


def _model_problem(slot: PlaceholderSlot, node_input: NodeInput) -> str:
    if node_input.choices is None:
        return ""
    if not node_input.choices:
        return "the server has no model, its list is empty"
    return node_input.problem(slot.default) if slot.default else ""
