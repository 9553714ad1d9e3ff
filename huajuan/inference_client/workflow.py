"""Workflows in ComfyUI's API format with named holes, and the pure function that fills them."""

from importlib import resources
from typing import Any
from uuid import UUID

import msgspec

from huajuan.inference_client.drawing import Drawing
from huajuan.inference_client.holes import (
    CROPPING,
    HOLE,
    Graph,
    WorkflowError,
    check_holes,
    holes,
    known_as,
    places,
)

Value = str | int | float

LATENT_PIXELS = 8
LATENT_PIXELS_MIN = 16
SEED_MAX = 2**64 - 1
# The server accepts 2^64-1, then fails while drawing: its ddim sampler adds one.
SEED_SENT_MAX = SEED_MAX - 1
# ComfyUI has no sampler named plms; ipndm is of the same family, linear multistep on pseudo-numerical steps.
# Recorded pictures are drawn again by this table, so what it says never changes.
SAMPLERS = {"DDIM": ("ddim", "ddim_uniform"), "PLMS": ("ipndm", "normal"), "K-LMS": ("lms", "karras")}
LOADED_AS = ("ckpt_name", "unet_name")


def text_to_image() -> Graph:
    """The built-in workflow, holes open."""
    file = resources.files("huajuan.inference_client") / "workflows" / "text_to_image.json"
    return msgspec.json.decode(file.read_bytes(), type=Graph)


def filename_prefix(prompt_id: UUID) -> str:
    """A folder of its own for every job, so that no cached answer can name another job's file."""
    return f"jobs/{prompt_id}/img"


def crops(workflow: Graph) -> bool:
    """Whether it cuts the picture to size itself; of any other the client cuts what is too much."""
    return not CROPPING.isdisjoint(holes(workflow))


def drawn_size(drawing: Drawing) -> tuple[int, int]:
    """Width and height in pixels of the picture as the server leaves it, which may yet have to be cut."""
    width, height = drawing.width, drawing.height
    if drawing.workflow is None or crops(drawing.workflow):
        return width, height
    return _rounded_up(width), _rounded_up(height)


def checkpoint_of(graph: Graph, workflow: Graph) -> str:
    """The model that a filled graph names: in the hole if there is one, else where loaders name theirs."""
    in_holes = [(p.node, p.input) for p in places(workflow) if p.holes == ["checkpoint"]]
    in_loaders = [(node, name) for node in workflow for name in LOADED_AS]
    for node, name in in_holes + in_loaders:
        inputs = content.get("inputs") if isinstance(content := graph.get(node), dict) else None
        if isinstance(inputs, dict) and isinstance(found := inputs.get(name), str):
            return found
    return ""


def values(drawing: Drawing, checkpoint: str) -> dict[str, Value]:
    """What the holes are filled with, sizes in pixels; WorkflowError for a drawing out of range."""
    _check(drawing)
    sampler, scheduler = SAMPLERS[drawing.sampling_method]
    width, height = drawn_size(drawing)
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
        **_sizes(drawing.width, drawing.height),
    }


def fill(workflow: Graph, filling: dict[str, Value]) -> Graph:
    """A new graph with every hole filled; a string that is one whole hole takes the value's own type.

    WorkflowError as from `check_holes`, or when a hole has no value.
    """
    check_holes(workflow)
    if empty := holes(workflow) - filling.keys():
        raise WorkflowError(f"holes without a value: {sorted(empty)}")
    return {
        node: content | {"inputs": _filled(content["inputs"], filling)} for node, content in workflow.items()
    }


def with_checkpoint(workflow: Graph, checkpoint: str) -> Graph:
    """The workflow with this model named and its other holes open; as it is when no model is named."""
    if not checkpoint:
        return workflow
    still_open: dict[str, Value] = {hole: f"{{{hole}}}" for hole in holes(workflow)}
    return fill(workflow, still_open | {"checkpoint": checkpoint})


def _filled(part: Any, filling: dict[str, Value]) -> Any:
    if isinstance(part, dict):
        return {key: _filled(value, filling) for key, value in part.items()}
    if isinstance(part, list):
        return [_filled(value, filling) for value in part]
    return _filled_text(part, filling) if isinstance(part, str) else part


def _filled_text(text: str, filling: dict[str, Value]) -> Value:
    if whole := HOLE.fullmatch(text):
        return filling[known_as(whole[1])]
    return HOLE.sub(lambda hole: str(filling[known_as(hole[1])]), text)


def _sizes(width: int, height: int) -> dict[str, Value]:
    latent_width, latent_height = _rounded_up(width), _rounded_up(height)
    return {
        "latent_width": latent_width,
        "latent_height": latent_height,
        "crop_x": (latent_width - width) // 2,
        "crop_y": (latent_height - height) // 2,
    }


def _rounded_up(pixels: int) -> int:
    # EmptyLatentImage silently rounds down, which would leave a picture too small to crop.
    return max(LATENT_PIXELS_MIN, -(-pixels // LATENT_PIXELS) * LATENT_PIXELS)


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
