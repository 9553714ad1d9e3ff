"""What an operator should know of a workflow before anything is drawn by it, as far as its file alone tells."""

import re
from collections.abc import Iterator
from typing import Any

from huajuan.inference_client.holes import Graph, holes, holes_in, is_link, texts, where
from huajuan.inference_client.outputs import exact_savers

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
# The inputs that a picture, or the latent that becomes one, comes by.
PICTURE_INPUTS = ("images", "image", "pixels", "samples", "latent_image", "latent", "latents")
SCALES = re.compile(r"upscale|scaleby|resize", re.IGNORECASE)
BATCH_INPUTS = {"batch_size": "", "amount": "RepeatLatentBatch"}


def remarks(workflow: Graph) -> list[str]:
    """A line each. `workflow` must have passed `check_workflow`."""
    found = [*_of_format(workflow), *_of_size(workflow), *_of_batches(workflow)]
    return [*found, *(f"no node has the hole {{{hole}}}: {why}" for hole, why in _ignored(workflow))]


def not_applied(workflow: Graph) -> list[str]:
    """Parameters of a request that change nothing, for the workflow has its own."""
    taken = {"steps": "steps", "sampling_method": "sampler"}
    return [parameter for parameter, hole in taken.items() if hole not in holes(workflow)]


def _ignored(workflow: Graph) -> Iterator[tuple[str, str]]:
    for parameter in not_applied(workflow):
        hole = "sampler" if parameter == "sampling_method" else parameter
        yield hole, f"{parameter} of a request changes nothing, the workflow's own is used"


def _of_format(workflow: Graph) -> Iterator[str]:
    for node in exact_savers(workflow):
        kind, inputs = str(workflow[node]["class_type"]), workflow[node]["inputs"]
        if NO_PNG_KINDS.search(kind):
            yield f"{where(workflow, node)}: it keeps no PNG, and only PNG pictures are taken"
        for name in FORMAT_INPUTS & inputs.keys():
            if isinstance(inputs[name], str) and NO_PNG_WORDS.fullmatch(inputs[name]):
                yield f"{where(workflow, node, name)}: it is {inputs[name]!r}, and only PNG pictures are taken"


def _of_size(workflow: Graph) -> Iterator[str]:
    for saver in exact_savers(workflow):
        for node in _upstream(workflow, saver):
            inputs = workflow[node]["inputs"]
            if _holes_of(inputs, "width") and _holes_of(inputs, "height"):
                break
            if problem := _wrong_size(str(workflow[node]["class_type"]), inputs):
                yield f"{where(workflow, node)}: {problem}"
                break


def _upstream(workflow: Graph, node: str) -> Iterator[str]:
    """The nodes that the picture passes, the last one first. Links lead back to none of them."""
    while source := _picture_source(workflow[node]["inputs"]):
        yield source
        node = source


def _picture_source(inputs: dict[str, Any]) -> str | None:
    return next((inputs[name][0] for name in PICTURE_INPUTS if is_link(inputs.get(name))), None)


def _holes_of(inputs: dict[str, Any], side: str) -> bool:
    """Whether a side is a hole, or comes over a link from where it may be one."""
    value = inputs.get(side)
    found = {hole.name for text in texts(value) for hole in holes_in(text)}
    return is_link(value) or not found.isdisjoint({side, f"latent_{side}"})


def _wrong_size(kind: str, inputs: dict[str, Any]) -> str:
    if _is_number(inputs.get("width")) and _is_number(inputs.get("height")):
        return f"it makes every picture {inputs['width']}x{inputs['height']}, whatever size is asked for"
    if SCALES.search(kind) and inputs.get("scale_by", 0) != 1:
        return "it changes the size after it was set, and a picture of another size than asked is not taken"
    if kind.startswith("LoadImage"):
        return "the picture has the size of its file, whatever size is asked for"
    return ""


def _of_batches(workflow: Graph) -> Iterator[str]:
    for node, content in workflow.items():
        for name, kind in BATCH_INPUTS.items():
            value = content["inputs"].get(name)
            if _is_number(value) and value > 1 and (not kind or content["class_type"] == kind):
                yield f"{where(workflow, node, name)}: {value} pictures are drawn at once, the first alone is taken"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
