"""What a server says of the very inputs where holes stand: the steps of sizes, and the models to choose from."""

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from huajuan.inference_client.holes import CROPPING, Graph, Place, holes, is_link, places
from huajuan.inference_client.node_kinds import CHOICE, Kind, Port, kind_of

LATENT_PIXELS = 8
LATENT_PIXELS_MIN = 16
PIXELS_LEAST_MAX = 1024
MODEL_FOLDERS = {"unet_name": "diffusion_models"}


class Step(msgspec.Struct, frozen=True):
    """Sizes in pixels that an input takes: multiples of `pixels`, from `least` on."""

    # Latents are rounded down silently, which would leave a picture too small to cut.
    pixels: int = LATENT_PIXELS
    least: int = LATENT_PIXELS_MIN

    def rounded_up(self, size: int) -> int:
        return -(-max(size, self.least) // self.pixels) * self.pixels

    def joined(self, port: Port) -> "Step":
        least = max(self.least, math.ceil(port.least or 0))
        return Step(math.lcm(self.pixels, port.step), self.least if least > PIXELS_LEAST_MAX else least)


class Grid(msgspec.Struct, frozen=True):
    """The steps of both sides; as it is made, those of ComfyUI's plain latents."""

    width: Step = Step()
    height: Step = Step()


def crops(workflow: Graph) -> bool:
    """Whether it cuts the picture to size itself; of any other the client cuts what is too much."""
    return not CROPPING.isdisjoint(holes(workflow))


def size_places(workflow: Graph, side: str) -> list[Place]:
    """Where the server is given the size that it draws in."""
    hole = f"latent_{side}" if crops(workflow) else side
    return [place for place in places(workflow) if place.is_one_hole and place.holes == [hole]]


def model_places(workflow: Graph) -> list[Place]:
    return [place for place in places(workflow) if "checkpoint" in place.holes]


def classes_around(workflow: Graph) -> set[str]:
    """The kinds of the nodes with such holes, and of those that take their values over a link."""
    found = [*size_places(workflow, "width"), *size_places(workflow, "height"), *model_places(workflow)]
    nodes = {place.node for place in found}
    return {
        workflow[node]["class_type"] for node in nodes | {n for p in nodes for n, _ in _takers(workflow, p)}
    }


class HoleInputs:
    """`descriptions` are the server's by class, of any shape; of what is missing there nothing is known."""

    def __init__(self, workflow: Graph, descriptions: dict[str, Any]) -> None:
        self._workflow = workflow
        self._kinds: dict[str, Kind] = {name: kind_of(said) for name, said in descriptions.items()}

    def grid(self) -> Grid:
        return Grid(self._step("width"), self._step("height"))

    def models(self, place: Place) -> list[str] | None:
        """What may stand there, `None` where the server does not say."""
        for port in self._ports(place):
            if port.type == CHOICE and port.choices is not None:
                return [choice for choice in port.choices if isinstance(choice, str)]
        return None

    def _step(self, side: str) -> Step:
        step = Step()
        for place in size_places(self._workflow, side):
            for port in self._ports(place):
                if port.type == "INT":
                    joined = step.joined(port)
                    step = joined if joined.pixels <= PIXELS_LEAST_MAX else step
        return step

    def _ports(self, place: Place) -> Iterator[Port]:
        """The input itself, then those that are linked to its node, which may only pass the value on."""
        inputs = [(place.node, place.input), *_takers(self._workflow, place.node)]
        for node, name in inputs:
            kind = self._kinds.get(self._workflow[node]["class_type"])
            if kind and (port := kind.ports.get(name)):
                yield port


def _takers(workflow: Graph, source: str) -> Iterator[tuple[str, str]]:
    for node, content in workflow.items():
        for name, value in content["inputs"].items():
            if is_link(value) and value[0] == source:
                yield node, name
