"""Fills a workflow for one server: sizes are rounded, and models chosen, by the server's node types."""

from huajuan.inference_client.discovery import Discovery
from huajuan.inference_client.errors import WorkflowRejected
from huajuan.inference_client.models import Drawing
from huajuan.inference_client.workflows.fill import DEFAULT_GRID, Models, drawn_size, fill, values
from huajuan.inference_client.workflows.placeholders import Graph, PlaceholderSlot, check_placeholders
from huajuan.inference_client.workflows.server_inputs import (
    MODEL_FOLDERS,
    PlaceholderInputs,
    SizeGrid,
    described_classes,
    model_slots,
)

CHECKPOINTS = "checkpoints"


class WorkflowResolver:
    """Requests only the node types it needs, through the cache.

    Raises `WorkflowRejected` and `ServerUnavailable`.
    """

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
        grid = (await self._inputs(drawing.workflow or {})).grid()
        return _rounded(drawing, grid) == _rounded(drawing, DEFAULT_GRID)

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
            if named and (names is None or named in names or not is_listed):
                found[slot.node, slot.input] = named
            else:
                found[slot.node, slot.input] = slot.default or await self._first(inputs, slot)
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
        names = inputs.models(slot)
        if names is None:
            names = await self._discovery.cached_models(MODEL_FOLDERS.get(slot.input, CHECKPOINTS))
        return names


def _grid(drawing: Drawing, inputs: PlaceholderInputs) -> SizeGrid:
    return DEFAULT_GRID if drawing.default_grid else inputs.grid()


def _rounded(drawing: Drawing, grid: SizeGrid) -> tuple[int, int]:
    return grid.width.rounded_up(drawing.width), grid.height.rounded_up(drawing.height)
