"""Checks a workflow: which node saves the picture, warnings for operators, and its fit to a server."""

import re
from collections.abc import Iterator
from typing import Any

from huajuan.inference_client.fill import SAMPLERS, SEED_SENT_MAX
from huajuan.inference_client.node_types import ANY, CHOICE, NodeInput, NodeType, parse_node_type
from huajuan.inference_client.placeholders import (
    Graph,
    PlaceholderSlot,
    WorkflowError,
    check_placeholders,
    describe_node,
    find_placeholders,
    is_link,
    placeholders,
    printable,
    slots,
    texts,
)

NO_PNG_KINDS = re.compile(r"jpe?g|webp|webm|avif|gif|video|mp4|audio|websocket", re.IGNORECASE)
NO_PNG_WORDS = re.compile(r"\.?(?:jpe?g|webp|webm|avif|gif|tiff?|bmp|mp4|image/(?!png).*)", re.IGNORECASE)
FORMAT_INPUTS = {
    *("extension", "ext", "format", "file_format", "image_format", "file_type", "filetype"),
    "output_format",
}
# Inputs for a picture, or for the latent that it is decoded from.
PICTURE_INPUTS = ("images", "image", "pixels", "samples", "latent_image", "latent", "latents")
SCALES = re.compile(r"upscale|scaleby|resize", re.IGNORECASE)
APPLIED_BY = {"steps": "steps", "sampling_method": "sampler"}
BATCH_INPUTS = {"batch_size": "", "amount": "RepeatLatentBatch"}
PROBLEM_CHARACTERS_MAX = 300
NUMBERS = {"INT", "FLOAT"}
TEXT_PLACEHOLDERS = {"prompt", "negative_prompt", "checkpoint", "sampler", "scheduler", "prefix"}
# The values of placeholders in lists of choices. A checkpoint may have any value.
CHOICE_VALUES = {
    "sampler": frozenset(sampler for sampler, _ in SAMPLERS.values()),
    "scheduler": frozenset(scheduler for _, scheduler in SAMPLERS.values()),
}


def check_workflow(workflow: Any) -> None:
    """As `check_placeholders`. Raises `WorkflowError` also if the node that saves the picture is ambiguous.

    Only new workflows are checked; recorded ones are used as they are.
    """
    check_placeholders(workflow)
    exact = picture_nodes(workflow)
    found = exact or list(_nodes_with_prefix(workflow))
    named = " and ".join(describe_node(workflow, node) for node in found)
    if len(exact) > 1:
        problem = "both name their files by exactly {prefix}: only the picture asked for may"
        raise WorkflowError(f"{named} {problem}")
    if len(found) > 1:
        problem = "name their files by {prefix}, and none by exactly that: the picture's must"
        raise WorkflowError(f"{named} {problem}")


def picture_nodes(workflow: Graph) -> list[str]:
    """The output nodes whose filename prefix is exactly `{prefix}`, directly or by a link."""
    exact = {p.node for p in slots(workflow) if p.is_whole and p.placeholders == ["prefix"]}
    passed_on = {node for node in exact if not _links(workflow, node)}
    linked = {node for node in workflow if passed_on.intersection(_links(workflow, node))}
    return [node for node in workflow if node in exact | linked and node not in _sources(workflow)]


def _nodes_with_prefix(workflow: Graph) -> Iterator[str]:
    found = {slot.node for slot in slots(workflow) if "prefix" in slot.placeholders}
    return (node for node in workflow if node in found and node not in _sources(workflow))


def _links(workflow: Graph, node: str) -> list[str]:
    return [value[0] for value in workflow[node]["inputs"].values() if is_link(value)]


def _sources(workflow: Graph) -> set[str]:
    """The nodes whose outputs are linked to other nodes."""
    return {source for node in workflow for source in _links(workflow, node)}


def workflow_warnings(workflow: Graph) -> list[str]:
    """One line each, for operators. `workflow` must have passed `check_workflow`."""
    checks = _format_warnings, _size_warnings, _batch_warnings, _ignored_parameters
    return [warning for check in checks for warning in check(workflow)]


def not_applied(workflow: Graph) -> list[str]:
    """Request parameters that the workflow ignores, since it has its own values."""
    found = placeholders(workflow)
    return [parameter for parameter, placeholder in APPLIED_BY.items() if placeholder not in found]


def _ignored_parameters(workflow: Graph) -> Iterator[str]:
    for parameter in not_applied(workflow):
        yield (
            f"no node has the placeholder {{{APPLIED_BY[parameter]}}}: "
            f"{parameter} of a request changes nothing, the workflow's own is used"
        )


def _format_warnings(workflow: Graph) -> Iterator[str]:
    for node in picture_nodes(workflow):
        kind, inputs = str(workflow[node]["class_type"]), workflow[node]["inputs"]
        if NO_PNG_KINDS.search(kind):
            yield f"{describe_node(workflow, node)}: it keeps no PNG, and only PNG pictures are taken"
        for name in FORMAT_INPUTS & inputs.keys():
            if isinstance(inputs[name], str) and NO_PNG_WORDS.fullmatch(inputs[name]):
                where = describe_node(workflow, node, name)
                yield f"{where}: it is {inputs[name]!r}, and only PNG pictures are taken"


def _size_warnings(workflow: Graph) -> Iterator[str]:
    for saver in picture_nodes(workflow):
        for node in _upstream(workflow, saver):
            inputs = workflow[node]["inputs"]
            if _has_side(inputs, "width") and _has_side(inputs, "height"):
                break
            if problem := _wrong_size(str(workflow[node]["class_type"]), inputs):
                yield f"{describe_node(workflow, node)}: {problem}"
                break


def _upstream(workflow: Graph, node: str) -> Iterator[str]:
    """The nodes on the path of the picture, the last one first."""
    while True:
        inputs = workflow[node]["inputs"]
        linked = [inputs[name][0] for name in PICTURE_INPUTS if is_link(inputs.get(name))]
        if not linked:
            return
        node = linked[0]
        yield node


def _has_side(inputs: dict[str, Any], side: str) -> bool:
    """Whether a side is a placeholder, or a link, whose source may be one."""
    value = inputs.get(side)
    found = {placeholder.name for text in texts(value) for placeholder in find_placeholders(text)}
    return is_link(value) or not found.isdisjoint({side, f"latent_{side}"})


def _wrong_size(kind: str, inputs: dict[str, Any]) -> str:
    if _is_number(inputs.get("width")) and _is_number(inputs.get("height")):
        return f"it makes every picture {inputs['width']}x{inputs['height']}, whatever size is asked for"
    if SCALES.search(kind) and inputs.get("scale_by", 0) != 1:
        return "it changes the size after it was set, and a picture of another size than asked is not taken"
    if kind.startswith("LoadImage"):
        return "the picture has the size of its file, whatever size is asked for"
    return ""


def _batch_warnings(workflow: Graph) -> Iterator[str]:
    for node, content in workflow.items():
        for name, kind in BATCH_INPUTS.items():
            value = content["inputs"].get(name)
            if _is_number(value) and value > 1 and (not kind or content["class_type"] == kind):
                where = describe_node(workflow, node, name)
                yield f"{where}: {value} pictures are drawn at once, the first alone is taken"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def find_problems(workflow: Graph, descriptions: dict[str, Any]) -> list[str]:
    """One line for each incompatible node, input and placeholder.

    `workflow` must have passed `check_placeholders`. `descriptions` are the server's, by class, of any type.
    """
    known = {name: parse_node_type(described) for name, described in descriptions.items()}
    types = {node: known[c["class_type"]] for node, c in workflow.items() if c["class_type"] in known}
    # The server's names of types may have any characters.
    return [printable(problem, PROBLEM_CHARACTERS_MAX) for problem in _Comparison(workflow, types).problems()]


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
        problem = (
            "" if node_type.is_open else "the server does not know this input, so it would change nothing"
        )
        if node_input := node_type.inputs.get(slot.input):
            problem = _placeholder_problem(slot, node_input)
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
    if node_input.choices is None:
        return ""
    if slot.placeholders[0] == "checkpoint" and not node_input.choices:
        return "the server has no model, its list is empty"
    if slot.placeholders[0] == "checkpoint":
        return node_input.problem(slot.default) if slot.default else ""
    filled_with = CHOICE_VALUES.get(slot.placeholders[0])
    if filled_with is None or not filled_with.isdisjoint(map(str, node_input.choices)):
        return ""
    return f"its list has none of {', '.join(sorted(filled_with))}"
