"""Fills the placeholders of a workflow with the values of a drawing, for a server's sizes and models."""

from collections.abc import Callable, Mapping
from importlib import resources
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec

from huajuan.inference_client.discovery import Discovery
from huajuan.inference_client.errors import WorkflowRejected
from huajuan.inference_client.models import Drawing, mapping
from huajuan.inference_client.node_types import (
    MODEL_FOLDERS,
    PIXELS_LEAST_MAX,
    STEP_MAX,
    PlaceholderInputs,
    SizeGrid,
    crops,
    described_classes,
    model_slots,
    size_slots,
)
from huajuan.inference_client.placeholders import (
    Graph,
    Placeholder,
    PlaceholderSlot,
    Value,
    WorkflowError,
    check_placeholders,
    find_placeholders,
    slots,
    substitute,
)

SEED_MAX = 2**64 - 1
# The server accepts 2^64-1, but its ddim sampler adds one and overflows.
SEED_SENT_MAX = SEED_MAX - 1
# ComfyUI has no sampler named plms; ipndm is of the same family (pseudo linear multistep).
# This table never changes, since `redraw` uses it for recorded pictures.
SAMPLERS = {"DDIM": ("ddim", "ddim_uniform"), "PLMS": ("ipndm", "normal"), "K-LMS": ("lms", "karras")}
CHECKPOINTS = "checkpoints"
LOADED_AS = ("ckpt_name", "unet_name")
DEFAULT_GRID = SizeGrid()
Models = Mapping[tuple[str, str], str]
NO_MODELS: Models = MappingProxyType({})


def text_to_image() -> Graph:
    """The built-in workflow, with its placeholders."""
    file = resources.files("huajuan.inference_client") / "text_to_image.json"
    return msgspec.json.decode(file.read_bytes(), type=Graph)


def filename_prefix(prompt_id: UUID) -> str:
    """A folder per job, so that a cached result cannot name the file of another job."""
    return f"jobs/{prompt_id}/img"


def drawn_size(drawing: Drawing, grid: SizeGrid) -> tuple[int, int]:
    """The size (width, height) in pixels of the server's picture, before the client crops it."""
    width, height = drawing.width, drawing.height
    if drawing.workflow is None or crops(drawing.workflow):
        return width, height
    return grid.rounded_up(width, height)


def sent_size(graph: Graph, drawing: Drawing) -> tuple[int, int] | None:
    """As `drawn_size`, from the graph in the server's history; `None` if it is not there."""
    workflow = drawing.workflow
    if workflow is None or crops(workflow):
        return drawing.width, drawing.height
    width = _sent(graph, workflow, "width", drawing.width)
    height = _sent(graph, workflow, "height", drawing.height)
    return (width, height) if width and height else None


def _sent(graph: Graph, workflow: Graph, side: str, asked: int) -> int | None:
    for node, name, _ in size_slots(workflow, side):
        value = _input(graph, node, name)
        # The value comes from the server and bounds the size of the decoded picture, so it is checked.
        if type(value) is int and asked <= value <= asked + PIXELS_LEAST_MAX + STEP_MAX:
            return value
    return None


def checkpoint_of(graph: Graph, workflow: Graph) -> str:
    """The model in a filled graph, from the placeholder's slot or the input of a loader; "" if none."""
    in_holes = [(p.node, p.input) for p in slots(workflow) if p.placeholders == ["checkpoint"]]
    in_loaders = [(node, name) for node in workflow for name in LOADED_AS]
    for node, name in in_holes + in_loaders:
        if isinstance(found := _input(graph, node, name), str):
            return found
    return ""


def _input(graph: Graph, node: str, name: str) -> Any:
    """From a graph in the server's history, which may have any form."""
    return mapping(mapping(graph.get(node)).get("inputs")).get(name)


def values(drawing: Drawing, checkpoint: str, grid: SizeGrid = DEFAULT_GRID) -> dict[str, Value]:
    """The values of the placeholders, sizes in pixels. Raises `WorkflowError` for a drawing out of range."""
    _check(drawing)
    sampler, scheduler = SAMPLERS[drawing.sampling_method]
    width, height = drawn_size(drawing, grid)
    latent_width, latent_height = grid.rounded_up(drawing.width, drawing.height)
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
        "latent_width": latent_width,
        "latent_height": latent_height,
        "crop_x": (latent_width - drawing.width) // 2,
        "crop_y": (latent_height - drawing.height) // 2,
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


def _check(drawing: Drawing) -> None:
    if drawing.sampling_method not in SAMPLERS:
        raise WorkflowError(f"unknown sampling method: {drawing.sampling_method[:40]!r}")
    if not 0 <= drawing.noise_seed <= SEED_MAX:
        raise WorkflowError("the noise seed is not within 0 and 2^64-1")
    try:
        (drawing.prompt + drawing.negative_prompt).encode()  # fails for a lone surrogate
    except UnicodeEncodeError:
        raise WorkflowError("the prompt is not Unicode text") from None
    if min(drawing.width, drawing.height, drawing.steps) < 1:
        raise WorkflowError("width, height and steps are at least 1")


class WorkflowResolver:
    """Requests the node types it needs, cached. Raises `WorkflowRejected` and `ServerUnavailable`."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery

    async def graph(self, drawing: Drawing) -> Graph:
        """The filled workflow. Raises `WorkflowError` if a placeholder has no value."""
        workflow = drawing.workflow or {}
        check_placeholders(workflow)
        inputs = await self._inputs(workflow)
        models = await self._models(workflow, inputs, drawing.checkpoint or "")
        first = next(iter(models.values()), "")
        return fill(workflow, values(drawing, first, _grid(drawing, inputs)), models)

    async def size_of(self, drawing: Drawing) -> tuple[int, int]:
        """The size of the server's picture before it is cropped."""
        return drawn_size(drawing, _grid(drawing, await self._inputs(drawing.workflow or {})))

    async def uses_default_grid(self, drawing: Drawing) -> bool:
        """Whether the server's grid gives the same size as the default grid."""
        grid, size = (await self._inputs(drawing.workflow or {})).grid(), (drawing.width, drawing.height)
        return grid.rounded_up(*size) == DEFAULT_GRID.rounded_up(*size)

    async def models(self, workflow: Graph) -> list[str]:
        """All models that may replace `{checkpoint}`."""
        inputs, slots = await self._inputs(workflow), model_slots(workflow)
        listed = [await self._listed(inputs, slot) for slot in slots]
        return list(dict.fromkeys(name for names in listed for name in names))

    async def _inputs(self, workflow: Graph) -> PlaceholderInputs:
        described = await self._discovery.cached_descriptions(sorted(described_classes(workflow)))
        return PlaceholderInputs(workflow, described)

    async def _models(self, workflow: Graph, inputs: PlaceholderInputs, named: str) -> Models:
        """The model for `{checkpoint}` in each slot."""
        found: dict[tuple[str, str], str] = {}
        slots = model_slots(workflow)
        # The named model is used in every slot, unless only the list of another slot has it.
        lists = [inputs.models(slot) for slot in slots]
        is_listed = any(named in names for names in lists if names is not None)
        for slot, names in zip(slots, lists, strict=True):
            takes_named = named and (names is None or named in names or not is_listed)
            model = named if takes_named else slot.default or await self._first(inputs, slot)
            found[slot.node, slot.input] = model
        return found

    async def _first(self, inputs: PlaceholderInputs, slot: PlaceholderSlot) -> str:
        """The first listed model. Raises `WorkflowRejected` if the server has none."""
        if listed := await self._listed(inputs, slot):
            return listed[0]
        self._discovery.clear_cache()  # a model may be installed soon
        raise WorkflowRejected(
            "the server has no model", f"none is listed for {slot.input} of node {slot.node}"
        )

    async def _listed(self, inputs: PlaceholderInputs, slot: PlaceholderSlot) -> list[str]:
        if (names := inputs.models(slot)) is not None:
            return names
        return await self._discovery.cached_models(MODEL_FOLDERS.get(slot.input, CHECKPOINTS))


def _grid(drawing: Drawing, inputs: PlaceholderInputs) -> SizeGrid:
    return DEFAULT_GRID if drawing.default_grid else inputs.grid()
