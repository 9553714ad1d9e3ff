"""Placeholders such as `{prompt}` in the inputs of a workflow: their syntax, substitution and checks."""

import graphlib
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from huajuan.inference_client.models import mapping

Graph = dict[str, Any]
Value = str | int | float

# Names of ComfyUI's inputs that placeholders may have as well.
OTHER_NAMES = {"noise_seed": "seed", "filename_prefix": "prefix"}
REQUIRED = {
    "prompt": "every picture would be the same",
    "seed": "a seed would change nothing",
    "width": "every picture would have the same size",
    "height": "every picture would have the same size",
    "prefix": "a picture could not be told from those of other jobs",
}
CROPPING = frozenset({"latent_width", "latent_height", "crop_x", "crop_y"})
OPTIONAL = frozenset({"negative_prompt", "checkpoint", "steps", "sampler", "scheduler"}) | CROPPING
PLACEHOLDERS = frozenset(REQUIRED) | OPTIONAL
PROBLEMS_SHOWN_MAX = 5
NAME_CHARACTERS_MAX = 60
NOT_API = "the workflow is not in API format"
_KNOWN = "|".join(sorted(PLACEHOLDERS | OTHER_NAMES.keys()))
# `{name}`, or `{name|default}` of a known name only, for `{red|blue}` is a choice for other tools.
# Doubled braces stand for the text itself. Within a default each brace is doubled.
_TOKEN = re.compile(
    r"\{\{(?P<literal>[a-z_]+|(?:KNOWN)\|[^{}]*)\}\}"
    r"|\{(?:(?P<bare>[a-z_]+)|(?P<named>KNOWN)\|(?P<default>(?:[^{}]|\{\{|\}\})*))\}".replace("KNOWN", _KNOWN)
)
_OPEN_DEFAULT = re.compile(rf"(?<!\{{)\{{(?:{_KNOWN})\|")


class WorkflowError(ValueError):
    """The workflow is invalid, a placeholder has no value, or a value of the drawing is out of range."""


class Placeholder(NamedTuple):
    """`default` is used if there is no value; `None` if the workflow gives none."""

    name: str
    default: str | None = None


class PlaceholderSlot(NamedTuple):
    """A text with placeholders, and the node and input that it belongs to."""

    node: str
    input: str
    text: str

    @property
    def placeholders(self) -> list[str]:
        return [placeholder.name for placeholder in find_placeholders(self.text)]

    @property
    def is_whole(self) -> bool:
        """Whether the text is a single placeholder: then the input gets the value with its type."""
        return (found := _TOKEN.fullmatch(self.text)) is not None and _placeholder(found) is not None

    @property
    def default(self) -> str | None:
        """Of the first placeholder."""
        return find_placeholders(self.text)[0].default


def find_placeholders(text: str) -> list[Placeholder]:
    return [placeholder for found in _TOKEN.finditer(text) if (placeholder := _placeholder(found))]


def substitute(text: str, value_of: Callable[[Placeholder], Value | None]) -> Value:
    """Replace placeholders by their values, unless these are `None`, and doubled braces by single ones.

    A text that is a single placeholder becomes the value itself, with its type.
    """
    if (whole := _TOKEN.fullmatch(text)) and (placeholder := _placeholder(whole)):
        value = value_of(placeholder)
        return text if value is None else value

    def replacement(found: re.Match[str]) -> str:
        if (placeholder := _placeholder(found)) is None:
            return f"{{{found['literal']}}}"
        value = value_of(placeholder)
        return found[0] if value is None else str(value)

    return _TOKEN.sub(replacement, text)


def inputs_of(workflow: Graph) -> Iterator[tuple[str, str, Any]]:
    """Node, name and value of all inputs. The workflow must be in API format."""
    return ((node, key, value) for node in workflow for key, value in workflow[node]["inputs"].items())


def slots(workflow: Graph) -> Iterator[PlaceholderSlot]:
    """All texts with placeholders. The workflow must be in API format."""
    for node, name, value in inputs_of(workflow):
        yield from (PlaceholderSlot(node, name, text) for text in texts(value) if find_placeholders(text))


def placeholders(workflow: Graph) -> set[str]:
    """The canonical names of all placeholders in a workflow."""
    return {placeholder for slot in slots(workflow) for placeholder in slot.placeholders}


def is_link(value: Any) -> bool:
    """Whether an input's value is a link: the name of another node and the number of its output."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int


def describe_node(workflow: Graph, node: str, input_name: str = "") -> str:
    """The node's name in the file, its class and its title, for messages."""
    content = workflow[node]
    title, kind = str(mapping(content.get("_meta")).get("title") or ""), str(content["class_type"])
    named = f'{kind} "{printable(title)}"' if title and title != kind else printable(kind)
    return f"node {printable(node)} ({named})" + (f", input {printable(input_name)}" if input_name else "")


def check_placeholders(workflow: Any) -> None:
    """Raises `WorkflowError` for another format, broken links, and unknown or missing placeholders."""
    if problem := _format_problem(workflow):
        raise WorkflowError(problem)
    checks = _bad_links, _unknown_placeholders, _broken_defaults, _missing_placeholders
    if problems := [problem for check in checks for problem in check(workflow)]:
        raise WorkflowError(summarize(problems))


def summarize(problems: list[str]) -> str:
    """The first problems, in one line."""
    more = len(problems) - PROBLEMS_SHOWN_MAX
    return "; ".join(problems[:PROBLEMS_SHOWN_MAX]) + (f"; and {more} more" if more > 0 else "")


def _format_problem(workflow: Any) -> str:
    if not isinstance(workflow, dict) or not workflow:
        return f"{NOT_API}: it is no object with nodes by their names"
    if isinstance(workflow.get("nodes"), list):
        return f"{NOT_API} but in the editor's own: use Export (API) in its menu"
    for node, content in workflow.items():
        if not isinstance(content, dict) or not isinstance(content.get("class_type"), str):
            return f"{NOT_API}: node {printable(node)} has no class_type"
        if not isinstance(content.get("inputs"), dict):
            return f"{NOT_API}: {describe_node(workflow, node)} has no inputs"
    return ""


def _bad_links(workflow: Graph) -> Iterator[str]:
    sources: dict[str, set[str]] = {node: set() for node in workflow}
    for node, name, value in inputs_of(workflow):
        if is_link(value) and value[0] not in workflow:
            where, target = describe_node(workflow, node, name), printable(value[0])
            yield f"{where}: it is linked to node {target}, which is not there"
        elif is_link(value):
            sources[node].add(value[0])
    try:
        graphlib.TopologicalSorter(sources).prepare()
    except graphlib.CycleError as cycle:
        yield f"{describe_node(workflow, cycle.args[1][0])}: its links lead back to itself"


def _unknown_placeholders(workflow: Graph) -> Iterator[str]:
    known = ", ".join(sorted(PLACEHOLDERS))
    for slot in slots(workflow):
        where = describe_node(workflow, slot.node, slot.input)
        for name in (printable(name) for name in slot.placeholders if name not in PLACEHOLDERS):
            yield (
                f"{where}: unknown placeholder {{{name}}}, there are {known}; "
                f"write {{{{{name}}}}} for the text itself"
            )


def _broken_defaults(workflow: Graph) -> Iterator[str]:
    for node, name, value in inputs_of(workflow):
        for _ in filter(_OPEN_DEFAULT.search, (_TOKEN.sub("", text) for text in texts(value))):
            where = describe_node(workflow, node, name)
            yield f"{where}: a placeholder's default does not end, each brace within it is written twice"


def _missing_placeholders(workflow: Graph) -> Iterator[str]:
    found = placeholders(workflow)
    for placeholder, why in REQUIRED.items():
        if placeholder not in found:
            yield f"no node has the placeholder {{{placeholder}}}, and {why}"


def texts(value: Any) -> Iterator[str]:
    """All texts in an input's value, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from texts(part)


def _placeholder(found: re.Match[str]) -> Placeholder | None:
    """`None` for a text in doubled braces."""
    if found["literal"] is not None:
        return None
    default = found["default"]
    plain = None if default is None else default.replace("{{", "{").replace("}}", "}")
    name = found["bare"] or found["named"]
    return Placeholder(OTHER_NAMES.get(name, name), plain)


def printable(text: str, characters_max: int = NAME_CHARACTERS_MAX) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:characters_max])
