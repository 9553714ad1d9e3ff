"""Executes a graph node by node: values follow the links, and the decoder paints a landscape."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from PIL import Image

from huajuan.demo_comfyui.files import Files
from huajuan.demo_comfyui.landscape.landscape import paint
from huajuan.demo_comfyui.landscape.subject import Subject
from huajuan.demo_comfyui.nodes import NODES
from huajuan.demo_comfyui.validation import Graph, linked

LATENT_PIXELS = 8
FLUX2_LATENT_PIXELS = 16
Values = dict[str, Any]
Results = tuple[Any, ...]


class Latent(msgspec.Struct, frozen=True):
    """The value between latent, sampler and decoder: a size, and after sampling a subject."""

    width: int
    height: int
    batch: int
    subject: Subject | None = None


class NodeContext:
    """The resources of nodes: files, the graph (for the PNG's text), and the callback of a sampler's step."""

    def __init__(self, files: Files, graph: Graph, step: Callable[[str, int, int], Awaitable[None]]) -> None:
        self.files = files
        self.graph = graph
        self.step = step


async def run_node(node: str, inputs: Values, context: NodeContext) -> Results:
    """The outputs of a node; for output nodes the saved files."""
    return await RUNNERS[context.graph[node]["class_type"]](node, inputs, context)


def order(graph: Graph, outputs: list[str]) -> list[str]:
    """All nodes that the outputs depend on, in topological order."""
    ordered: dict[str, None] = {}
    for output in outputs:
        _visit(graph, output, ordered)
    return list(ordered)


def signature(graph: Graph, node: str) -> str:
    """Equal for nodes that have the same inputs, upstream nodes included. Names of nodes are ignored."""
    content = graph[node]
    inputs = {name: content["inputs"][name] for name in NODES[content["class_type"]].inputs}
    made = {name: [signature(graph, str(v[0])), v[1]] if linked(v) else v for name, v in inputs.items()}
    return json.dumps([content["class_type"], made], sort_keys=True)


def resolved(graph: Graph, node: str, results: dict[str, Results]) -> Values:
    """A node's inputs with links replaced by values."""
    given = graph[node]["inputs"]
    kinds = NODES[graph[node]["class_type"]].inputs
    values = {name: results[str(v[0])][v[1]] if linked(v := given[name]) else v for name in kinds}
    numbers = {name: _number(kinds[name].kind, value) for name, value in values.items()}
    return values | {name: value for name, value in numbers.items() if value is not None}


def _number(kind: str | list[str], value: Any) -> int | float | None:
    if kind == "INT":
        return int(value)
    return float(value) if kind == "FLOAT" else None


def _visit(graph: Graph, node: str, ordered: dict[str, None]) -> None:
    if node in ordered:
        return
    for value in graph[node]["inputs"].values():
        if linked(value):
            _visit(graph, str(value[0]), ordered)
    ordered[node] = None


async def _load(_node: str, inputs: Values, _context: NodeContext) -> Results:
    return (inputs["ckpt_name"],) * 3


async def _encode(_node: str, inputs: Values, _context: NodeContext) -> Results:
    return (inputs["text"],)


async def _load_one(_node: str, inputs: Values, _context: NodeContext) -> Results:
    return (next(iter(inputs.values())),)


async def _latent(_node: str, inputs: Values, _context: NodeContext) -> Results:
    return (_empty_latent(inputs, LATENT_PIXELS),)


async def _latent_of_flux2(_node: str, inputs: Values, _context: NodeContext) -> Results:
    return (_empty_latent(inputs, FLUX2_LATENT_PIXELS),)


def _empty_latent(inputs: Values, pixels: int) -> Latent:
    """Sizes are rounded down, as in ComfyUI."""
    width, height = (inputs[side] // pixels * pixels for side in ("width", "height"))
    return Latent(width, height, inputs["batch_size"])


SEED_MAX = 2**64 - 1


async def _sample(node: str, inputs: Values, context: NodeContext) -> Results:
    if inputs["sampler_name"] == "ddim" and inputs["seed"] == SEED_MAX:
        raise RuntimeError("Overflow when unpacking long long")  # as in ComfyUI, which adds one to it
    # The real server reports one step more than asked for with this scheduler.
    steps = inputs["steps"] + (inputs["scheduler"] == "ddim_uniform")
    for step in range(1, steps + 1):
        await context.step(node, step, steps)
    latent: Latent = inputs["latent_image"]
    subject = Subject(inputs["positive"], inputs["seed"], inputs["steps"], inputs["sampler_name"])
    return (msgspec.structs.replace(latent, subject=subject),)


async def _decode(_node: str, inputs: Values, _context: NodeContext) -> Results:
    latent: Latent = inputs["samples"]
    subject = latent.subject or Subject("", 0, 1, "ddim")
    variants = [subject.variant(number) for number in range(latent.batch)]
    return ([await asyncio.to_thread(paint, each, latent.width, latent.height) for each in variants],)


async def _empty(_node: str, inputs: Values, _context: NodeContext) -> Results:
    size, colour = (inputs["width"], inputs["height"]), f"#{inputs['color']:06x}"
    return ([Image.new("RGB", size, colour) for _ in range(inputs["batch_size"])],)


async def _crop(_node: str, inputs: Values, _context: NodeContext) -> Results:
    return ([_cropped(picture, inputs) for picture in inputs["image"]],)


def _cropped(picture: Image.Image, inputs: Values) -> Image.Image:
    left, top = min(inputs["x"], picture.width - 1), min(inputs["y"], picture.height - 1)
    right, bottom = min(picture.width, left + inputs["width"]), min(picture.height, top + inputs["height"])
    return picture.crop((left, top, right, bottom))


async def _save(_node: str, inputs: Values, context: NodeContext) -> Results:
    return await _write(inputs["images"], inputs["filename_prefix"], "output", context)


async def _preview(_node: str, inputs: Values, context: NodeContext) -> Results:
    return await _write(inputs["images"], "ComfyUI_temp", "temp", context)


async def _write(pictures: list[Image.Image], prefix: str, kind: str, context: NodeContext) -> Results:
    save = context.files.save
    return tuple([await asyncio.to_thread(save, each, prefix, kind, context.graph) for each in pictures])


RUNNERS: dict[str, Callable[[str, Values, NodeContext], Awaitable[Results]]] = {
    "CheckpointLoaderSimple": _load,
    "UNETLoader": _load_one,
    "CLIPLoader": _load_one,
    "VAELoader": _load_one,
    "CLIPTextEncode": _encode,
    "EmptyLatentImage": _latent,
    "EmptyFlux2LatentImage": _latent_of_flux2,
    "KSampler": _sample,
    "VAEDecode": _decode,
    "EmptyImage": _empty,
    "ImageCrop": _crop,
    "SaveImage": _save,
    "PreviewImage": _preview,
}
