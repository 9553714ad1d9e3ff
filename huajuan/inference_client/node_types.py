"""Node types of a server, parsed from its untrusted descriptions, and the inputs with placeholders."""

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from huajuan.inference_client.models import mapping
from huajuan.inference_client.placeholders import (
    CROPPING,
    Graph,
    PlaceholderSlot,
    inputs_of,
    is_link,
    placeholders,
    slots,
)

ANY = "*"
CHOICE = "COMBO"
# The types of inputs that depend on the values of other inputs begin with this.
DYNAMIC = "COMFY_"
CHOICES_SHOWN_MAX = 5
STEP_MAX = 1024
CHARACTERS_SHOWN_MAX = 60
LATENT_PIXELS = 8
LATENT_PIXELS_MIN = 16
PIXELS_LEAST_MAX = 1024
MODEL_FOLDERS = {"unet_name": "diffusion_models"}


class NodeInput(msgspec.Struct, frozen=True):
    """An input: its types, separated by commas; the known choices of a list; and bounds of a number."""

    type: str
    choices: list[Any] | None = None
    least: float | None = None
    most: float | None = None
    step: int = 1
    is_upload: bool = False

    @property
    def is_dynamic(self) -> bool:
        return self.type.startswith(DYNAMIC)

    def takes(self, output: str) -> bool:
        given, wanted = set(output.split(",")), set(self.type.split(","))
        is_dynamic = self.is_dynamic or output.startswith(DYNAMIC)
        return is_dynamic or bool({ANY, CHOICE} & (given | wanted) or given & wanted)

    def problem(self, value: Any) -> str:
        """Why the input does not take the value; "" if it does."""
        if self.type == CHOICE:
            return self._not_a_choice(value)
        if self.type in {"INT", "FLOAT"}:
            return self._no_number(value)
        if self.type in {ANY, "STRING", "BOOLEAN"} or self.is_dynamic or not self.type.isupper():
            return ""
        # Such a type takes links only, but the types of some node packs are plain values.
        if isinstance(value, dict | list):
            return ""
        return f"it takes a link to {self.type}, and is {_quoted(value)}"

    def _not_a_choice(self, value: Any) -> str:
        # Only the server can check several choices at once, which are a list or an object.
        if self.choices is None or isinstance(value, list | dict) or value in self.choices:
            return ""
        if self.is_upload and _is_elsewhere(value):
            return ""
        if self.is_upload:
            return f"the server has no file {_quoted(value)} in its input folder"
        some = ", ".join(_quoted(choice) for choice in self.choices[:CHOICES_SHOWN_MAX])
        more = ", …" if len(self.choices) > CHOICES_SHOWN_MAX else ""
        return f"the server has no {_quoted(value)}, it has {some or 'none at all'}{more}"

    def _no_number(self, value: Any) -> str:
        try:
            number = float(value) if self.type == "FLOAT" else int(value)
        except (TypeError, ValueError, OverflowError):
            return f"it takes a number ({self.type}), and is {_quoted(value)}"
        if self.least is not None and number < self.least:
            return f"it is {_quoted(value)}, less than {self.least:g}"
        if self.most is not None and number > self.most:
            return f"it is {_quoted(value)}, more than {self.most:g}"
        return ""


class NodeType(msgspec.Struct, frozen=True):
    """Inputs by name, the required ones, the types of the outputs, and whether it saves its result.

    An open type takes inputs that it does not describe.
    """

    inputs: dict[str, NodeInput]
    required: list[str]
    outputs: list[str]
    is_output: bool

    @property
    def is_open(self) -> bool:
        return any(node_input.is_dynamic for node_input in self.inputs.values())


def parse_node_type(described: Any) -> NodeType:
    """Parse a description of any type. Where it is malformed, anything is allowed."""
    described = mapping(described)
    inputs = mapping(described.get("input"))
    required, optional = mapping(inputs.get("required")), mapping(inputs.get("optional"))
    outputs = described.get("output")
    return NodeType(
        inputs={str(name): _node_input(one) for name, one in {**optional, **required}.items()},
        required=[str(name) for name in required],
        outputs=[_type(one) for one in outputs] if isinstance(outputs, list) else [],
        is_output=described.get("output_node") is True,
    )


def _node_input(described: Any) -> NodeInput:
    kind, *more = described if isinstance(described, list) and described else [ANY]
    config = mapping(more[0] if more else None)
    choices = kind if isinstance(kind, list) else config.get("options")
    return NodeInput(
        type=_type(kind),
        choices=choices if isinstance(choices, list) else None,
        least=_number(config.get("min")),
        most=_number(config.get("max")),
        step=_step(config.get("step")),
        is_upload=any(str(name).endswith("_upload") for name in config),
    )


def _type(described: Any) -> str:
    return CHOICE if isinstance(described, list) else str(described)


def _number(described: Any) -> float | None:
    return described if isinstance(described, int | float) and not isinstance(described, bool) else None


def _step(described: Any) -> int:
    """A step that is no whole number, or larger than any picture, counts as 1."""
    step = _number(described)
    return int(step) if step is not None and 1 <= step <= STEP_MAX and step == int(step) else 1


def _is_elsewhere(value: Any) -> bool:
    """Files in folders and in other slots than the input folder are not listed."""
    return not isinstance(value, str) or "/" in value or "\\" in value or value.endswith("]")


def _quoted(value: Any) -> str:
    return repr(value)[:CHARACTERS_SHOWN_MAX]


class SizeStep(msgspec.Struct, frozen=True):
    """The sizes in pixels that an input takes: multiples of `pixels`, at least `least`."""

    # ComfyUI rounds latents down silently, which would leave a picture too small to crop.
    pixels: int = LATENT_PIXELS
    least: int = LATENT_PIXELS_MIN

    def rounded_up(self, size: int) -> int:
        return -(-max(size, self.least) // self.pixels) * self.pixels

    def joined(self, node_input: NodeInput) -> "SizeStep":
        least = max(self.least, math.ceil(node_input.least or 0))
        least = self.least if least > PIXELS_LEAST_MAX else least
        return SizeStep(math.lcm(self.pixels, node_input.step), least)


class SizeGrid(msgspec.Struct, frozen=True):
    """The steps of both sides, by default those of ComfyUI's latents."""

    width: SizeStep = SizeStep()
    height: SizeStep = SizeStep()

    def rounded_up(self, width: int, height: int) -> tuple[int, int]:
        return self.width.rounded_up(width), self.height.rounded_up(height)


def crops(workflow: Graph) -> bool:
    """Whether the workflow crops the picture to the requested size. Otherwise the client crops it."""
    return not CROPPING.isdisjoint(placeholders(workflow))


def size_slots(workflow: Graph, side: str) -> list[PlaceholderSlot]:
    """The inputs for the size that the server draws in."""
    placeholder = f"latent_{side}" if crops(workflow) else side
    return [slot for slot in slots(workflow) if slot.is_whole and slot.placeholders == [placeholder]]


def model_slots(workflow: Graph) -> list[PlaceholderSlot]:
    return [slot for slot in slots(workflow) if "checkpoint" in slot.placeholders]


def described_classes(workflow: Graph) -> set[str]:
    """The classes of the nodes with size and model placeholders, and of the nodes linked to them."""
    found = [*size_slots(workflow, "width"), *size_slots(workflow, "height"), *model_slots(workflow)]
    nodes = {slot.node for slot in found}
    linked = {taker for node in nodes for taker, _ in _linked_inputs(workflow, node)}
    return {workflow[node]["class_type"] for node in nodes | linked}


class PlaceholderInputs:
    """The grid of sizes, and the models to choose from.

    `descriptions` are the server's, by class, of any type. Some may be missing.
    """

    def __init__(self, workflow: Graph, descriptions: dict[str, Any]) -> None:
        self._workflow = workflow
        self._types: dict[str, NodeType] = {name: parse_node_type(d) for name, d in descriptions.items()}

    def grid(self) -> SizeGrid:
        return SizeGrid(self._step("width"), self._step("height"))

    def models(self, slot: PlaceholderSlot) -> list[str] | None:
        """The models that the slot takes; `None` if the server does not list them."""
        for node_input in self._node_inputs(slot):
            if node_input.type == CHOICE and node_input.choices is not None:
                return [choice for choice in node_input.choices if isinstance(choice, str)]
        return None

    def _step(self, side: str) -> SizeStep:
        step = SizeStep()
        for slot in size_slots(self._workflow, side):
            for node_input in self._node_inputs(slot):
                if node_input.type == "INT":
                    joined = step.joined(node_input)
                    step = joined if joined.pixels <= PIXELS_LEAST_MAX else step
        return step

    def _node_inputs(self, slot: PlaceholderSlot) -> Iterator[NodeInput]:
        """The input itself, then those linked to its node, which may only pass the value on."""
        for node, name in [(slot.node, slot.input), *_linked_inputs(self._workflow, slot.node)]:
            node_type = self._types.get(self._workflow[node]["class_type"])
            if node_type and (node_input := node_type.inputs.get(name)):
                yield node_input


def _linked_inputs(workflow: Graph, source: str) -> list[tuple[str, str]]:
    return [
        (node, name) for node, name, value in inputs_of(workflow) if is_link(value) and value[0] == source
    ]
