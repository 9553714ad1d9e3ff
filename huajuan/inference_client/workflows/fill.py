"""Fills the placeholders of a workflow with the values of a drawing.

Pure functions, and the built-in workflow.
"""

from collections.abc import Callable, Mapping
from importlib import resources
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec

from huajuan.inference_client.models import Drawing
from huajuan.inference_client.workflows.node_types import STEP_MAX
from huajuan.inference_client.workflows.placeholders import (
    Graph,
    Placeholder,
    Value,
    WorkflowError,
    check_placeholders,
    find_placeholders,
    slots,
    substitute,
)
from huajuan.inference_client.workflows.server_inputs import PIXELS_LEAST_MAX, SizeGrid, crops, size_slots

SEED_MAX = 2**64 - 1
# The server accepts 2^64-1, but its ddim sampler adds one and overflows.
SEED_SENT_MAX = SEED_MAX - 1
# ComfyUI has no sampler named plms; ipndm is of the same family (pseudo linear multistep).
# This table never changes, since `redraw` uses it for recorded pictures.
SAMPLERS = {"DDIM": ("ddim", "ddim_uniform"), "PLMS": ("ipndm", "normal"), "K-LMS": ("lms", "karras")}
LOADED_AS = ("ckpt_name", "unet_name")
DEFAULT_GRID = SizeGrid()
Models = Mapping[tuple[str, str], str]
NO_MODELS: Models = MappingProxyType({})


def text_to_image() -> Graph:
    """The built-in workflow, with its placeholders."""
    file = resources.files("huajuan.inference_client") / "workflows" / "text_to_image.json"
    return msgspec.json.decode(file.read_bytes(), type=Graph)


def filename_prefix(prompt_id: UUID) -> str:
    """A folder per job, so that a cached result cannot name the file of another job."""
    return f"jobs/{prompt_id}/img"


def drawn_size(drawing: Drawing, grid: SizeGrid) -> tuple[int, int]:
    """The size (width, height) in pixels of the server's picture, before the client crops it."""
    width, height = drawing.width, drawing.height
    if drawing.workflow is None or crops(drawing.workflow):
        return width, height
    return grid.width.rounded_up(width), grid.height.rounded_up(height)


def sent_size(graph: Graph, drawing: Drawing) -> tuple[int, int] | None:
    """As `drawn_size`, from the graph in the server's history; `None` if it is not there."""
    workflow = drawing.workflow
    if workflow is None or crops(workflow):
        return drawing.width, drawing.height
    width = _sent(graph, workflow, "width", drawing.width)
    height = _sent(graph, workflow, "height", drawing.height)
    return None if width is None or height is None else (width, height)


def _sent(graph: Graph, workflow: Graph, side: str, asked: int) -> int | None:
    for node, name, _ in size_slots(workflow, side):
        inputs = content.get("inputs") if isinstance(content := graph.get(node), dict) else None
        value = inputs.get(name) if isinstance(inputs, dict) else None
        # The value comes from the server and bounds the size of the decoded picture, so it is checked.
        if type(value) is int and asked <= value <= asked + PIXELS_LEAST_MAX + STEP_MAX:
            return value
    return None


def checkpoint_of(graph: Graph, workflow: Graph) -> str:
    """The model in a filled graph, from the placeholder's slot or the input of a loader; "" if none."""
    in_holes = [(p.node, p.input) for p in slots(workflow) if p.placeholders == ["checkpoint"]]
    in_loaders = [(node, name) for node in workflow for name in LOADED_AS]
    for node, name in in_holes + in_loaders:
        inputs = content.get("inputs") if isinstance(content := graph.get(node), dict) else None
        if isinstance(inputs, dict) and isinstance(found := inputs.get(name), str):
            return found
    return ""


def values(drawing: Drawing, checkpoint: str, grid: SizeGrid = DEFAULT_GRID) -> dict[str, Value]:
    """The values of the placeholders, sizes in pixels. Raises `WorkflowError` for a drawing out of range."""
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
    """A new graph without placeholders. A text that is a single placeholder becomes the value with its type.

    An empty text is replaced by the placeholder's default, if it has one. `models` are the checkpoints of
    single inputs, by node and name. Raises `WorkflowError` as `check_placeholders`, and for a placeholder
    without a value.
    """
    check_placeholders(workflow)
    if empty := _without_value(workflow, filling, models):
        raise WorkflowError(f"placeholders without a value: {sorted(empty)}")

    def filled(node: str, name: str, part: Any) -> Any:
        here = filling if (model := models.get((node, name))) is None else filling | {"checkpoint": model}
        return _each_text(part, lambda text: substitute(text, lambda placeholder: _value(placeholder, here)))

    return {
        node: content | {"inputs": {k: filled(node, k, v) for k, v in content["inputs"].items()}}
        for node, content in workflow.items()
    }


def with_checkpoint(workflow: Graph, checkpoint: str) -> Graph:
    """The workflow with this model for `{checkpoint}`. Other placeholders stay."""
    if not checkpoint:
        return workflow

    def named(text: str) -> Value:
        # In other texts doubled braces must stay for the later substitution.
        if not any(placeholder.name == "checkpoint" for placeholder in find_placeholders(text)):
            return text
        return substitute(text, lambda placeholder: checkpoint if placeholder.name == "checkpoint" else None)

    return {
        node: content | {"inputs": _each_text(content["inputs"], named)} for node, content in workflow.items()
    }


def _without_value(workflow: Graph, filling: dict[str, Value], models: Models) -> set[str]:
    needed: set[str] = set()
    for slot in slots(workflow):
        known = filling.keys() | ({"checkpoint"} if (slot.node, slot.input) in models else set())
        needed |= {h.name for h in find_placeholders(slot.text) if h.default is None and h.name not in known}
    return needed


def _value(placeholder: Placeholder, filling: dict[str, Value]) -> Value:
    value = filling.get(placeholder.name, "")
    return placeholder.default if value == "" and placeholder.default is not None else value


def _each_text(part: Any, change: Callable[[str], Value]) -> Any:
    if isinstance(part, dict):
        return {key: _each_text(value, change) for key, value in part.items()}
    if isinstance(part, list):
        return [_each_text(value, change) for value in part]
    return change(part) if isinstance(part, str) else part


def _sizes(width: int, height: int, grid: SizeGrid) -> dict[str, Value]:
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


def _is_text(text: str) -> bool:
    """A lone surrogate cannot be encoded as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
