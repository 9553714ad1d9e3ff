"""Whether a workflow fits a server: its nodes against what the server says of their kinds in /object_info."""

from collections.abc import Iterator
from typing import Any

from huajuan.inference_client.holes import Graph, Place, is_link, places, where
from huajuan.inference_client.node_kinds import ANY, CHOICE, Kind, Port, kind_of
from huajuan.inference_client.workflow import SAMPLERS, SEED_SENT_MAX

PROBLEM_CHARACTERS_MAX = 300
NUMBERS = {"INT", "FLOAT"}
WORDS = {"prompt", "negative_prompt", "checkpoint", "sampler", "scheduler", "prefix"}
# What a hole in a list of choices may be filled with; a checkpoint may be any.
CHOSEN = {
    "sampler": frozenset(sampler for sampler, _ in SAMPLERS.values()),
    "scheduler": frozenset(scheduler for _, scheduler in SAMPLERS.values()),
}


def misfits(workflow: Graph, descriptions: dict[str, Any]) -> list[str]:
    """A line for each node, input and hole that will not do; none if all is well.

    `workflow` must have passed `check_holes`; `descriptions` are the server's, by class, of any shape.
    """
    known = {name: kind_of(said) for name, said in descriptions.items()}
    kinds = {node: known[c["class_type"]] for node, c in workflow.items() if c["class_type"] in known}
    return [_in_one_line(problem) for problem in _Fitting(workflow, kinds).problems()]


def _in_one_line(problem: str) -> str:
    """What a server calls its types may be anything."""
    return "".join(letter if letter.isprintable() else "?" for letter in problem[:PROBLEM_CHARACTERS_MAX])


class _Fitting:
    def __init__(self, workflow: Graph, kinds: dict[str, Kind]) -> None:
        self._workflow = workflow
        self._kinds = kinds

    def problems(self) -> Iterator[str]:
        for node in self._workflow:
            if node not in self._kinds:
                yield f"{where(self._workflow, node)}: the server has no such kind of node"
            else:
                yield from self._of_node(node, self._kinds[node])
        for place in places(self._workflow):
            if place.node in self._kinds:
                yield from self._of_holes(place, self._kinds[place.node])
        if len(self._kinds) == len(self._workflow) and not any(self._saves(node) for node in self._workflow):
            yield "no node keeps a picture: one such as SaveImage must be linked to an image"

    def _saves(self, node: str) -> bool:
        inputs, kind = self._workflow[node]["inputs"], self._kinds[node]
        return kind.is_output and any(
            is_link(inputs.get(name)) and port.takes("IMAGE") for name, port in kind.ports.items()
        )

    def _of_node(self, node: str, kind: Kind) -> Iterator[str]:
        inputs = self._workflow[node]["inputs"]
        for name in kind.required:
            if name not in inputs and not kind.ports[name].is_dynamic:
                yield f"{where(self._workflow, node, name)}: it is required and not there"
        for name, port in kind.ports.items():
            if name in inputs and (problem := self._of_value(port, inputs[name])):
                yield f"{where(self._workflow, node, name)}: {problem}"

    def _of_value(self, port: Port, value: Any) -> str:
        if is_link(value):
            return self._of_link(port, value[0], value[1])
        if isinstance(value, str) and Place("", "", value).holes:
            return ""
        return port.misfit(value)

    def _of_link(self, port: Port, source: str, output: int) -> str:
        if source not in self._kinds:
            return ""
        outputs = self._kinds[source].outputs
        if not 0 <= output < len(outputs):
            return f"it is linked to output {output} of {where(self._workflow, source)}, which has {len(outputs)}"
        if not port.takes(outputs[output]):
            return (
                f"it takes {port.type} and is linked to {outputs[output]} of {where(self._workflow, source)}"
            )
        return ""

    def _of_holes(self, place: Place, kind: Kind) -> Iterator[str]:
        port = kind.ports.get(place.input)
        if port is None and not kind.is_open:
            problem = "the server does not know this input, so it would change nothing"
        else:
            problem = _of_hole(place, port) if port else ""
        if problem:
            named = ", ".join(f"{{{hole}}}" for hole in place.holes)
            yield f"{where(self._workflow, place.node, place.input)}, hole {named}: {problem}"


def _of_hole(place: Place, port: Port) -> str:
    if port.type in {ANY, "STRING", "BOOLEAN"} or port.is_dynamic:
        return ""
    if port.type == CHOICE:
        return _of_choice(place, port)
    if port.type not in NUMBERS:
        return f"it takes a link to {port.type}, no value"
    if not place.is_one_hole or place.holes[0] in WORDS:
        return f"it takes a number ({port.type}), no text"
    if place.holes[0] == "seed" and port.most is not None and port.most < SEED_SENT_MAX:
        return f"it takes seeds up to {port.most:.0f} only, and they go up to {SEED_SENT_MAX}"
    return ""


def _of_choice(place: Place, port: Port) -> str:
    if not place.is_one_hole or place.holes[0] not in WORDS:
        return "it takes one of a list"
    if place.holes[0] == "checkpoint":
        return _of_model(place, port)
    filled_with = CHOSEN.get(place.holes[0])
    if port.choices is None or filled_with is None or not filled_with.isdisjoint(map(str, port.choices)):
        return ""
    return f"its list has none of {', '.join(sorted(filled_with))}"


def _of_model(place: Place, port: Port) -> str:
    if port.choices is None:
        return ""
    if not port.choices:
        return "the server has no model, its list is empty"
    return port.misfit(place.default) if place.default else ""
