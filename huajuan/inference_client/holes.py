"""Holes: where a workflow in ComfyUI's API format says `{prompt}` and the like, and whether it says so well."""

import graphlib
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Graph = dict[str, Any]
Value = str | int | float

# ComfyUI's own inputs are called so, and may give their names to the holes in them.
OTHER_NAMES = {"noise_seed": "seed", "filename_prefix": "prefix"}
MUST_OCCUR = {
    "prompt": "every picture would be the same",
    "seed": "a seed would change nothing",
    "width": "every picture would have the same size",
    "height": "every picture would have the same size",
    "prefix": "a picture could not be told from those of other jobs",
}
CROPPING = frozenset({"latent_width", "latent_height", "crop_x", "crop_y"})
MAY_OCCUR = frozenset({"negative_prompt", "checkpoint", "steps", "sampler", "scheduler"}) | CROPPING
HOLES = frozenset(MUST_OCCUR) | MAY_OCCUR
PROBLEMS_TOLD_MAX = 5
NAME_CHARACTERS_MAX = 60
_KNOWN = "|".join(sorted(HOLES | OTHER_NAMES.keys()))
# `{name}`; `{name|default}` of a known name only, for `{red|blue}` is a text that other tools choose from; both with
# doubled braces for the text itself. Within a default each brace is doubled.
_TOKEN = re.compile(
    r"\{\{(?P<literal>[a-z_]+|(?:KNOWN)\|[^{}]*)\}\}"
    r"|\{(?:(?P<bare>[a-z_]+)|(?P<named>KNOWN)\|(?P<default>(?:[^{}]|\{\{|\}\})*))\}".replace("KNOWN", _KNOWN)
)
_OPEN_DEFAULT = re.compile(rf"(?<!\{{)\{{(?:{_KNOWN})\|")


class WorkflowError(ValueError):
    """A workflow and the values for its holes don't fit, or a drawing is out of range."""


class Hole(NamedTuple):
    """`default` stands there when there is no value; `None` where the file gives none."""

    name: str
    default: str | None = None


class Place(NamedTuple):
    """A text with holes in it: of which node, in which input."""

    node: str
    input: str
    text: str

    @property
    def holes(self) -> list[str]:
        return [hole.name for hole in holes_in(self.text)]

    @property
    def is_one_hole(self) -> bool:
        """Then it takes the value's own type, else it stays a text."""
        return (found := _TOKEN.fullmatch(self.text)) is not None and _hole(found) is not None

    @property
    def default(self) -> str | None:
        """Of the first hole."""
        return holes_in(self.text)[0].default


def known_as(name: str) -> str:
    """A hole's first name."""
    return OTHER_NAMES.get(name, name)


def holes_in(text: str) -> list[Hole]:
    return [hole for found in _TOKEN.finditer(text) if (hole := _hole(found))]


def replaced(text: str, value_of: Callable[[Hole], Value | None]) -> Value:
    """Holes replaced by their values, doubled braces by single ones; one for which there is `None` stays as it is.

    A text that is one whole hole takes the value's own type.
    """
    if (whole := _TOKEN.fullmatch(text)) and (hole := _hole(whole)):
        value = value_of(hole)
        return text if value is None else value

    def instead(found: re.Match[str]) -> str:
        if (hole := _hole(found)) is None:
            return f"{{{found['literal']}}}"
        value = value_of(hole)
        return found[0] if value is None else str(value)

    return _TOKEN.sub(instead, text)


def places(workflow: Graph) -> Iterator[Place]:
    """All places with holes. The workflow must be in API format."""
    for node, content in workflow.items():
        for name, value in content["inputs"].items():
            yield from (Place(node, name, text) for text in texts(value) if holes_in(text))


def holes(workflow: Graph) -> set[str]:
    """The first names of all holes in a workflow."""
    return {hole for place in places(workflow) for hole in place.holes}


def is_link(value: Any) -> bool:
    """Whether an input's value is another node's output: the node's name and the output's number."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int


def where(workflow: Graph, node: str, input_name: str = "") -> str:
    """What a reader finds a node by: its name in the file, its class, and its title if it has one."""
    content = workflow[node]
    meta = content.get("_meta")
    title = str(meta.get("title") or "") if isinstance(meta, dict) else ""
    kind = str(content["class_type"])
    named = f'{kind} "{_short(title)}"' if title and title != kind else _short(kind)
    return f"node {_short(node)} ({named})" + (f", input {_short(input_name)}" if input_name else "")


def check_holes(workflow: Any) -> None:
    """WorkflowError, in one line, unless in API format, its links sound, no hole unknown, none needed missing."""
    if problem := _of_another_format(workflow):
        raise WorkflowError(problem)
    refuse(
        [
            *_bad_links(workflow),
            *_unknown_holes(workflow),
            *_broken_defaults(workflow),
            *_missing_holes(workflow),
        ]
    )


def refuse(problems: list[str]) -> None:
    if problems:
        raise WorkflowError(told(problems))


def told(problems: list[str]) -> str:
    """The first few, in one line."""
    more = len(problems) - PROBLEMS_TOLD_MAX
    return "; ".join(problems[:PROBLEMS_TOLD_MAX]) + (f"; and {more} more" if more > 0 else "")


def _of_another_format(workflow: Any) -> str:
    if not isinstance(workflow, dict) or not workflow:
        return "the workflow is not in API format: it is no object with nodes by their names"
    if isinstance(workflow.get("nodes"), list):
        return "the workflow is not in API format but in the editor's own: use Export (API) in its menu"
    for node, content in workflow.items():
        if not isinstance(content, dict) or not isinstance(content.get("class_type"), str):
            return f"the workflow is not in API format: node {_short(node)} has no class_type"
        if not isinstance(content.get("inputs"), dict):
            return f"the workflow is not in API format: {where(workflow, node)} has no inputs"
    return ""


def _bad_links(workflow: Graph) -> Iterator[str]:
    sources: dict[str, set[str]] = {node: set() for node in workflow}
    for node, content in workflow.items():
        for name, value in content["inputs"].items():
            if is_link(value) and value[0] not in workflow:
                yield f"{where(workflow, node, name)}: it is linked to node {_short(value[0])}, which is not there"
            elif is_link(value):
                sources[node].add(value[0])
    try:
        graphlib.TopologicalSorter(sources).prepare()
    except graphlib.CycleError as cycle:
        yield f"{where(workflow, cycle.args[1][0])}: its links lead back to itself"


def _unknown_holes(workflow: Graph) -> Iterator[str]:
    for place in places(workflow):
        for hole in place.holes:
            if hole not in HOLES:
                known = ", ".join(sorted(HOLES))
                yield (
                    f"{where(workflow, place.node, place.input)}: unknown hole {{{_short(hole)}}}, there are {known}; "
                    f"write {{{{{_short(hole)}}}}} for the text itself"
                )


def _broken_defaults(workflow: Graph) -> Iterator[str]:
    for node, content in workflow.items():
        for name, value in content["inputs"].items():
            for text in texts(value):
                if _OPEN_DEFAULT.search(_TOKEN.sub("", text)):
                    yield (
                        f"{where(workflow, node, name)}: a hole's default does not end, "
                        "each brace within it is written twice"
                    )


def _missing_holes(workflow: Graph) -> Iterator[str]:
    found = holes(workflow)
    for hole, why in MUST_OCCUR.items():
        if hole not in found:
            yield f"no node has the hole {{{hole}}}, and {why}"


def texts(value: Any) -> Iterator[str]:
    """All texts in an input's value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from texts(part)


def _hole(found: re.Match[str]) -> Hole | None:
    """None for what only stands for a text in braces."""
    if found["literal"] is not None:
        return None
    default = found["default"]
    plain = None if default is None else default.replace("{{", "{").replace("}}", "}")
    return Hole(known_as(found["bare"] or found["named"]), plain)


def _short(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name[:NAME_CHARACTERS_MAX])
