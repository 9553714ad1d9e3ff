"""Fill a workflow for one server, by what it says of the inputs where the holes are."""

from huajuan.inference_client.discovery import Discovery
from huajuan.inference_client.drawing import Drawing
from huajuan.inference_client.errors import Rejected
from huajuan.inference_client.holes import Graph, Place, check_holes
from huajuan.inference_client.linked import MODEL_FOLDERS, Grid, HoleInputs, classes_around, model_places
from huajuan.inference_client.workflow import PLAIN, Models, drawn_size, fill, values

CHECKPOINTS = "checkpoints"


class Filling:
    """Asks as little as it can, and remembers it for a while. Raises Rejected and ServerUnavailable."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery

    async def graph(self, drawing: Drawing) -> Graph:
        """WorkflowError when the two do not fit."""
        workflow = drawing.workflow or {}
        check_holes(workflow)
        inputs = await self._inputs(workflow)
        models = await self._models(workflow, inputs, drawing.checkpoint or "")
        first = next(iter(models.values()), "")
        return fill(workflow, values(drawing, first, _grid(drawing, inputs)), models)

    async def size_of(self, drawing: Drawing) -> tuple[int, int]:
        """How large the server's picture is, before it is cut."""
        return drawn_size(drawing, _grid(drawing, await self._inputs(drawing.workflow or {})))

    async def is_plain(self, drawing: Drawing) -> bool:
        """Whether `plain_steps` would change nothing."""
        grid = (await self._inputs(drawing.workflow or {})).grid()
        return _rounded(drawing, grid) == _rounded(drawing, PLAIN)

    async def models(self, workflow: Graph) -> list[str]:
        """All that may stand for `{checkpoint}`."""
        inputs, places = await self._inputs(workflow), model_places(workflow)
        listed = [await self._listed(inputs, place) for place in places]
        return list(dict.fromkeys(name for names in listed for name in names))

    async def _inputs(self, workflow: Graph) -> HoleInputs:
        described = await self._discovery.known_descriptions(sorted(classes_around(workflow)))
        return HoleInputs(workflow, described)

    async def _models(self, workflow: Graph, inputs: HoleInputs, named: str) -> Models:
        """What stands for `{checkpoint}` in each place."""
        found: dict[tuple[str, str], str] = {}
        places = model_places(workflow)
        # A name goes everywhere, but not where only another input's list has it.
        lists = [inputs.models(place) for place in places]
        is_listed = any(named in names for names in lists if names is not None)
        for place, names in zip(places, lists, strict=True):
            if named and (names is None or named in names or not is_listed):
                found[place.node, place.input] = named
            else:
                found[place.node, place.input] = place.default or await self._first(inputs, place)
        return found

    async def _first(self, inputs: HoleInputs, place: Place) -> str:
        """Rejected when the server has none: nothing can be drawn there."""
        if listed := await self._listed(inputs, place):
            return listed[0]
        self._discovery.forget()  # there may be one as soon as somebody has seen this
        raise Rejected("the server has no model", f"none is listed for {place.input} of node {place.node}")

    async def _listed(self, inputs: HoleInputs, place: Place) -> list[str]:
        names = inputs.models(place)
        if names is None:
            names = await self._discovery.known_models(MODEL_FOLDERS.get(place.input, CHECKPOINTS))
        return names


def _grid(drawing: Drawing, inputs: HoleInputs) -> Grid:
    return PLAIN if drawing.plain_steps else inputs.grid()


def _rounded(drawing: Drawing, grid: Grid) -> tuple[int, int]:
    return grid.width.rounded_up(drawing.width), grid.height.rounded_up(drawing.height)
