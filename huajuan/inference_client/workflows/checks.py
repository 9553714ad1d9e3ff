"""Checks a workflow by its file alone: which node saves the picture, and warnings for operators."""

import re
from collections.abc import Iterator
from typing import Any

from huajuan.inference_client.workflows.placeholders import (
    Graph,
    WorkflowError,
    check_placeholders,
    describe_node,
    find_placeholders,
    is_link,
    placeholders,
    slots,
    texts,
)

NO_PNG_KINDS = re.compile(r"jpe?g|webp|webm|avif|gif|video|mp4|audio|websocket", re.IGNORECASE)
NO_PNG_WORDS = re.compile(r"\.?(?:jpe?g|webp|webm|avif|gif|tiff?|bmp|mp4|image/(?!png).*)", re.IGNORECASE)
FORMAT_INPUTS = {
    "extension",
    "ext",
    "format",
    "file_format",
    "image_format",
    "file_type",
    "filetype",
    "output_format",
}
# Inputs for a picture, or for the latent that it is decoded from.
PICTURE_INPUTS = ("images", "image", "pixels", "samples", "latent_image", "latent", "latents")
SCALES = re.compile(r"upscale|scaleby|resize", re.IGNORECASE)
BATCH_INPUTS = {"batch_size": "", "amount": "RepeatLatentBatch"}


def check_workflow(workflow: Any) -> None:
    """As `check_placeholders`. Raises `WorkflowError` also if the node that saves the picture is ambiguous.

    Only new workflows are checked; recorded ones are used as they are.
    """
    check_placeholders(workflow)
    exact = picture_nodes(workflow)
    if len(exact) > 1:
        named = " and ".join(describe_node(workflow, node) for node in exact)
        raise WorkflowError(
            f"{named} both name their files by exactly {{prefix}}: only the picture asked for may"
        )
    others = list(_nodes_with_prefix(workflow))
    if not exact and len(others) > 1:
        named = " and ".join(describe_node(workflow, node) for node in others)
        raise WorkflowError(
            f"{named} name their files by {{prefix}}, and none by exactly that: the picture's must"
        )


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
    found = [*_format_warnings(workflow), *_size_warnings(workflow), *_batch_warnings(workflow)]
    return [
        *found,
        *(
            f"no node has the placeholder {{{placeholder}}}: {why}"
            for placeholder, why in _ignored_parameters(workflow)
        ),
    ]


def not_applied(workflow: Graph) -> list[str]:
    """Request parameters that the workflow ignores, since it has its own values."""
    taken = {"steps": "steps", "sampling_method": "sampler"}
    return [
        parameter for parameter, placeholder in taken.items() if placeholder not in placeholders(workflow)
    ]


def _ignored_parameters(workflow: Graph) -> Iterator[tuple[str, str]]:
    for parameter in not_applied(workflow):
        placeholder = "sampler" if parameter == "sampling_method" else parameter
        yield placeholder, f"{parameter} of a request changes nothing, the workflow's own is used"


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
    while source := _picture_source(workflow[node]["inputs"]):
        yield source
        node = source


def _picture_source(inputs: dict[str, Any]) -> str | None:
    return next((inputs[name][0] for name in PICTURE_INPUTS if is_link(inputs.get(name))), None)


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
