"""Workflows in ComfyUI's API format with named holes, and the pure function that fills them."""

import re
from importlib import resources
from typing import Any
from uuid import UUID

import msgspec

from huajuan.inference_client.drawing import Drawing

Graph = dict[str, Any]
Value = str | int | float

HOLE = re.compile(r"\{([a-z_]+)\}")
LATENT_PIXELS = 8
LATENT_PIXELS_MIN = 16
SEED_MAX = 2**64 - 1
# The server accepts 2^64-1, then fails while drawing: its ddim sampler adds one.
SEED_SENT_MAX = SEED_MAX - 1
MUST_OCCUR = frozenset({"prompt", "noise_seed", "width", "height", "filename_prefix"})
MAY_OCCUR = frozenset(
    {
        *("negative_prompt", "checkpoint", "steps", "sampler", "scheduler"),
        *("latent_width", "latent_height", "crop_x", "crop_y"),
    }
)

# ComfyUI has no sampler named plms; ipndm is of the same family, linear multistep on pseudo-numerical steps.
SAMPLERS = {"DDIM": ("ddim", "ddim_uniform"), "PLMS": ("ipndm", "normal"), "K-LMS": ("lms", "karras")}


class WorkflowError(ValueError):
    """A workflow and the values for its holes don't fit, or a drawing is out of range."""


def text_to_image() -> Graph:
    """The built-in workflow, holes open."""
    file = resources.files("huajuan.inference_client") / "workflows" / "text_to_image.json"
    return msgspec.json.decode(file.read_bytes(), type=Graph)


def filename_prefix(prompt_id: UUID) -> str:
    """A folder of its own for every job, so that no cached answer can name another job's file."""
    return f"jobs/{prompt_id}/img"


def holes(workflow: Any) -> set[str]:
    """The names of all holes in a workflow."""
    return set(HOLE.findall(msgspec.json.encode(workflow).decode()))


def check_holes(workflow: Graph) -> None:
    """WorkflowError unless in API format, all holes known, none of those that matter missing."""
    if not all(isinstance(node, dict) and "class_type" in node for node in workflow.values()):
        raise WorkflowError("the workflow is not in API format")
    found = holes(workflow)
    if strangers := found - MUST_OCCUR - MAY_OCCUR:
        raise WorkflowError(f"unknown holes in the workflow: {sorted(strangers)}")
    if absent := MUST_OCCUR - found:
        raise WorkflowError(f"holes missing from the workflow: {sorted(absent)}")


def values(drawing: Drawing, checkpoint: str) -> dict[str, Value]:
    """What the holes are filled with, sizes in pixels; WorkflowError for a drawing out of range."""
    _check(drawing)
    sampler, scheduler = SAMPLERS[drawing.sampling_method]
    return {
        "prompt": drawing.prompt,
        "negative_prompt": drawing.negative_prompt,
        "checkpoint": checkpoint,
        "steps": drawing.steps,
        "sampler": sampler,
        "scheduler": scheduler,
        "noise_seed": min(drawing.noise_seed, SEED_SENT_MAX),
        "filename_prefix": filename_prefix(drawing.prompt_id),
        **_sizes(drawing.width, drawing.height),
    }


def fill(workflow: Graph, filling: dict[str, Value]) -> Graph:
    """A new graph with every hole filled; a string that is one whole hole takes the value's own type.

    WorkflowError as from `check_holes`, or when a hole has no value.
    """
    check_holes(workflow)
    if empty := holes(workflow) - filling.keys():
        raise WorkflowError(f"holes without a value: {sorted(empty)}")
    return {node: _filled(content, filling) for node, content in workflow.items()}


def _filled(part: Any, filling: dict[str, Value]) -> Any:
    if isinstance(part, dict):
        return {key: _filled(value, filling) for key, value in part.items()}
    if isinstance(part, list):
        return [_filled(value, filling) for value in part]
    return _filled_text(part, filling) if isinstance(part, str) else part


def _filled_text(text: str, filling: dict[str, Value]) -> Value:
    if whole := HOLE.fullmatch(text):
        return filling[whole[1]]
    return HOLE.sub(lambda hole: str(filling[hole[1]]), text)


def _sizes(width: int, height: int) -> dict[str, Value]:
    latent_width, latent_height = _rounded_up(width), _rounded_up(height)
    return {
        "width": width,
        "height": height,
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
