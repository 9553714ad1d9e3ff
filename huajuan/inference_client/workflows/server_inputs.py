"""The server's description of inputs with placeholders: the grid of sizes, and the models to choose from."""

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from huajuan.inference_client.workflows.node_types import CHOICE, NodeInput, NodeType, parse_node_type
from huajuan.inference_client.workflows.placeholders import (
    CROPPING,
    Graph,
    PlaceholderSlot,
    is_link,
    placeholders,
    slots,
)

LATENT_PIXELS = 8
LATENT_PIXELS_MIN = 16
PIXELS_LEAST_MAX = 1024
MODEL_FOLDERS = {"unet_name": "diffusion_models"}


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
    """`descriptions` are the server's, by class, of any type. Some may be missing."""

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
        inputs = [(slot.node, slot.input), *_linked_inputs(self._workflow, slot.node)]
        for node, name in inputs:
            node_type = self._types.get(self._workflow[node]["class_type"])
            if node_type and (node_input := node_type.inputs.get(name)):
                yield node_input


def _linked_inputs(workflow: Graph, source: str) -> Iterator[tuple[str, str]]:
    for node, content in workflow.items():
        for name, value in content["inputs"].items():
            if is_link(value) and value[0] == source:
                yield node, name
