"""Workflows in ComfyUI's API format with named holes, and the pure function that fills them."""

from collections.abc import Callable, Mapping
from importlib import resources
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec

from huajuan.inference_client.drawing import Drawing
from huajuan.inference_client.holes import (
    Graph,
    Hole,
    Value,
    WorkflowError,
    check_holes,
    holes_in,
    places,
    replaced,
)
from huajuan.inference_client.linked import PIXELS_LEAST_MAX, Grid, crops, size_places
from huajuan.inference_client.node_kinds import STEP_MAX

SEED_MAX = 2**64 - 1
# The server accepts 2^64-1, then fails while drawing: its ddim sampler adds one.
SEED_SENT_MAX = SEED_MAX - 1
# ComfyUI has no sampler named plms; ipndm is of the same family, linear multistep on pseudo-numerical steps.
# Recorded pictures are drawn again by this table, so what it says never changes.
SAMPLERS = {"DDIM": ("ddim", "ddim_uniform"), "PLMS": ("ipndm", "normal"), "K-LMS": ("lms", "karras")}
LOADED_AS = ("ckpt_name", "unet_name")
PLAIN = Grid()
Models = Mapping[tuple[str, str], str]
NO_MODELS: Models = MappingProxyType({})


def text_to_image() -> Graph:
    """The built-in workflow, holes open."""
    file = resources.files("huajuan.inference_client") / "workflows" / "text_to_image.json"
    return msgspec.json.decode(file.read_bytes(), type=Graph)


def filename_prefix(prompt_id: UUID) -> str:
    """A folder of its own for every job, so that no cached answer can name another job's file."""
    return f"jobs/{prompt_id}/img"


def drawn_size(drawing: Drawing, grid: Grid) -> tuple[int, int]:
    """Width and height in pixels of the picture as the server leaves it, which may yet have to be cut."""
    width, height = drawing.width, drawing.height
    if drawing.workflow is None or crops(drawing.workflow):
        return width, height
    return grid.width.rounded_up(width), grid.height.rounded_up(height)


def sent_size(graph: Graph, drawing: Drawing) -> tuple[int, int] | None:
    """As `drawn_size`, read from the graph that the server was given; `None` where it cannot be."""
    workflow = drawing.workflow
    if workflow is None or crops(workflow):
        return drawing.width, drawing.height
    width = _sent(graph, workflow, "width", drawing.width)
    height = _sent(graph, workflow, "height", drawing.height)
    return None if width is None or height is None else (width, height)


def _sent(graph: Graph, workflow: Graph, side: str, asked: int) -> int | None:
    for node, name, _ in size_places(workflow, side):
        inputs = content.get("inputs") if isinstance(content := graph.get(node), dict) else None
        value = inputs.get(name) if isinstance(inputs, dict) else None
        # A server may say anything, and a picture is decoded in the size that it says.
        if type(value) is int and asked <= value <= asked + PIXELS_LEAST_MAX + STEP_MAX:
            return value
    return None


def checkpoint_of(graph: Graph, workflow: Graph) -> str:
    """The model that a filled graph names: in the hole if there is one, else where loaders name theirs."""
    in_holes = [(p.node, p.input) for p in places(workflow) if p.holes == ["checkpoint"]]
    in_loaders = [(node, name) for node in workflow for name in LOADED_AS]
    for node, name in in_holes + in_loaders:
        inputs = content.get("inputs") if isinstance(content := graph.get(node), dict) else None
        if isinstance(inputs, dict) and isinstance(found := inputs.get(name), str):
            return found
    return ""


def values(drawing: Drawing, checkpoint: str, grid: Grid = PLAIN) -> dict[str, Value]:
    """What the holes are filled with, sizes in pixels; WorkflowError for a drawing out of range."""
    _check(drawing)
    sampler, scheduler = SAMPLERS[drawing.sampling_method]
    width, height = drawn_size(drawing, grid)
    return {
        "prompt": drawing.prompt,
        "negative_prompt": drawing.negative_prompt,
        "checkpoint": checkpoint,
        "steps": drawing.steps,
        "sampler": sampler,
        "scheduler": scheduler,
        "seed": min(drawing.noise_seed, SEED_SENT_MAX),
        "prefix": filename_prefix(drawing.prompt_id),
        "width": width,
        "height": height,
        **_sizes(drawing.width, drawing.height, grid),
    }


def fill(workflow: Graph, filling: dict[str, Value], models: Models = NO_MODELS) -> Graph:
    """A new graph with every hole filled; a string that is one whole hole takes the value's own type.

    An empty text is no value: then the hole's default stands there, if it has one. `models` are those of single
    inputs, by node and name. WorkflowError as from `check_holes`, or when a hole has no value.
    """
    check_holes(workflow)
    if empty := _without_value(workflow, filling, models):
        raise WorkflowError(f"holes without a value: {sorted(empty)}")

    def filled(node: str, name: str, part: Any) -> Any:
        here = filling if (model := models.get((node, name))) is None else filling | {"checkpoint": model}
        return _each_text(part, lambda text: replaced(text, lambda hole: _value(hole, here)))

    return {
        node: content | {"inputs": {k: filled(node, k, v) for k, v in content["inputs"].items()}}
        for node, content in workflow.items()
    }


def with_checkpoint(workflow: Graph, checkpoint: str) -> Graph:
    """The workflow with this model named and its other holes open; as it is when no model is named."""
    if not checkpoint:
        return workflow

    def named(text: str) -> Value:
        # Only a text with that hole, for in any other doubled braces are still to be read.
        if not any(hole.name == "checkpoint" for hole in holes_in(text)):
            return text
        return replaced(text, lambda hole: checkpoint if hole.name == "checkpoint" else None)

    return {
        node: content | {"inputs": _each_text(content["inputs"], named)} for node, content in workflow.items()
    }


def _without_value(workflow: Graph, filling: dict[str, Value], models: Models) -> set[str]:
    needed: set[str] = set()
    for place in places(workflow):
        known = filling.keys() | ({"checkpoint"} if (place.node, place.input) in models else set())
        needed |= {h.name for h in holes_in(place.text) if h.default is None and h.name not in known}
    return needed


def _value(hole: Hole, filling: dict[str, Value]) -> Value:
    value = filling.get(hole.name, "")
    return hole.default if value == "" and hole.default is not None else value


def _each_text(part: Any, change: Callable[[str], Value]) -> Any:
    if isinstance(part, dict):
        return {key: _each_text(value, change) for key, value in part.items()}
    if isinstance(part, list):
        return [_each_text(value, change) for value in part]
    return change(part) if isinstance(part, str) else part


def _sizes(width: int, height: int, grid: Grid) -> dict[str, Value]:
    latent_width, latent_height = grid.width.rounded_up(width), grid.height.rounded_up(height)
    return {
        "latent_width": latent_width,
        "latent_height": latent_height,
        "crop_x": (latent_width - width) // 2,
        "crop_y": (latent_height - height) // 2,
    }


def _check(drawing: Drawing) -> None:
    if drawing.sampling_method not in SAMPLERS:
        raise WorkflowError(f"unknown sampling method: {drawing.sampling_method[:40]!r}")
    if not 0 <= drawing.noise_seed <= SEED_MAX:
        raise WorkflowError("the noise seed is not within 0 and 2^64-1")
    if not _is_text(drawing.prompt) or not _is_text(drawing.negative_prompt):
        raise WorkflowError("the prompt is not Unicode text")
    if min(drawing.width, drawing.height, drawing.steps) < 1:
        raise WorkflowError("width, height and steps are at least 1")


def _is_text(words: str) -> bool:
    """Half a surrogate pair is no text: it cannot be sent as UTF-8."""
    try:
        words.encode()
    except UnicodeEncodeError:
        return False
    return True
