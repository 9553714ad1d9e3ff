"""Executes a graph node by node: values follow the links, the decoder paints, and pictures are saved."""

import asyncio
import hashlib
import io
import json
import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from huajuan.demo_comfyui.landscape import paint
from huajuan.demo_comfyui.nodes import NODES, NUMBERS, SEED_MAX, Graph, linked
from huajuan.demo_comfyui.scene import Subject

FILES_MAX = 200
MARK = "demo ComfyUI: drawn by a program, no model was used"
KINDS = ("output", "temp", "input")
Values = dict[str, Any]
Results = tuple[Any, ...]


class ViewRefused(Exception):
    """An error of /view, with the status 400, 403 or 404."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Files:
    """Pictures in a temporary folder with a bounded number of files, saved under a prefix."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="demo-comfyui-"))
        self._saved: list[Path] = []
        for kind in KINDS:
            (self.root / kind).mkdir()

    def close(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    def save(self, picture: Image.Image, prefix: str, kind: str, graph: object) -> dict[str, str]:
        """Write a PNG with the graph in its text, as ComfyUI does. Returns its name, subfolder and type."""
        root = self.root / kind
        folder, stem = (root / prefix).parent.resolve(), Path(prefix).name
        if not folder.is_relative_to(root):
            raise ValueError("Saving image outside the output folder is not allowed.")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{stem}_{_next_number(folder, stem):05}_.png"
        path.write_bytes(_png(picture, graph))
        self._remove_oldest(path)
        subfolder = "" if folder == root else str(folder.relative_to(root))
        return {"filename": path.name, "subfolder": subfolder, "type": kind}

    def read(self, filename: str, subfolder: str, kind: str) -> bytes:
        """Raises `ViewRefused`."""
        if not filename or filename.startswith("/") or ".." in filename or kind not in KINDS:
            raise ViewRefused(400)
        folder = (self.root / kind / subfolder).resolve()
        if not folder.is_relative_to(self.root / kind):
            raise ViewRefused(403)
        path = folder / Path(filename).name
        if not path.is_file():
            raise ViewRefused(404)
        return path.read_bytes()

    def delete(self, place: dict[str, str]) -> None:
        (self.root / place["type"] / place["subfolder"] / place["filename"]).unlink(missing_ok=True)

    def _remove_oldest(self, path: Path) -> None:
        self._saved.append(path)
        while len(self._saved) > FILES_MAX:
            oldest = self._saved.pop(0)
            oldest.unlink(missing_ok=True)
            if oldest.parent.parent != self.root and not any(oldest.parent.iterdir()):
                oldest.parent.rmdir()


def etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _png(picture: Image.Image, graph: object) -> bytes:
    text = PngInfo()
    text.add_text("prompt", msgspec.json.encode(graph).decode())
    text.add_text("Software", MARK)
    file = io.BytesIO()
    picture.save(file, format="PNG", pnginfo=text, compress_level=4)
    return file.getvalue()


def _next_number(folder: Path, stem: str) -> int:
    pattern = re.compile(rf"{re.escape(stem)}_(\d+)_\.png")
    numbers = [int(found[1]) for path in folder.iterdir() if (found := pattern.fullmatch(path.name))]
    return max(numbers, default=0) + 1


class Latent(msgspec.Struct, frozen=True):
    """The value between latent, sampler and decoder: a size, and after sampling a subject."""

    width: int
    height: int
    batch: int
    subject: Subject = Subject("", 0, 1, "ddim")


class NodeContext(NamedTuple):
    """The resources of nodes: files, the graph (for the PNG's text), and the callback of a sampler's step."""

    files: Files
    graph: Graph
    step: Callable[[str, int, int], Awaitable[None]]


async def run_node(node: str, inputs: Values, context: NodeContext) -> Results:
    """The outputs of a node; for output nodes the saved files."""
    kind = context.graph[node]["class_type"]
    return await RUNNERS[kind](node, inputs, context) if kind in RUNNERS else SIMPLE[kind](inputs)


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
    """A node's inputs with links replaced by values, and numbers converted."""
    given = graph[node]["inputs"]
    kinds = NODES[graph[node]["class_type"]].inputs
    values = {name: results[str(v[0])][v[1]] if linked(v := given[name]) else v for name in kinds}
    converters = {name: NUMBERS.get(str(kinds[name].kind)) for name in kinds}
    return {name: convert(values[name]) if convert else values[name] for name, convert in converters.items()}


def _visit(graph: Graph, node: str, ordered: dict[str, None]) -> None:
    if node not in ordered:
        for value in graph[node]["inputs"].values():
            if linked(value):
                _visit(graph, str(value[0]), ordered)
        ordered[node] = None


def _empty_latent(inputs: Values, pixels: int) -> Results:
    """Sizes are rounded down, as in ComfyUI."""
    width, height = (inputs[side] // pixels * pixels for side in ("width", "height"))
    return (Latent(width, height, inputs["batch_size"]),)


def _empty(inputs: Values) -> Results:
    size, colour = (inputs["width"], inputs["height"]), f"#{inputs['color']:06x}"
    return ([Image.new("RGB", size, colour) for _ in range(inputs["batch_size"])],)


def _cropped(picture: Image.Image, inputs: Values) -> Image.Image:
    left, top = min(inputs["x"], picture.width - 1), min(inputs["y"], picture.height - 1)
    right, bottom = min(picture.width, left + inputs["width"]), min(picture.height, top + inputs["height"])
    return picture.crop((left, top, right, bottom))


async def _sample(node: str, inputs: Values, context: NodeContext) -> Results:
    if inputs["sampler_name"] == "ddim" and inputs["seed"] == SEED_MAX:
        raise RuntimeError("Overflow when unpacking long long")  # as in ComfyUI, which adds one to it
    # The real server reports one step more than asked for with this scheduler.
    steps = inputs["steps"] + (inputs["scheduler"] == "ddim_uniform")
    for step in range(1, steps + 1):
        await context.step(node, step, steps)
    subject = Subject(inputs["positive"], inputs["seed"], inputs["steps"], inputs["sampler_name"])
    return (msgspec.structs.replace(inputs["latent_image"], subject=subject),)


async def _decode(_node: str, inputs: Values, _context: NodeContext) -> Results:
    latent: Latent = inputs["samples"]
    variants = [latent.subject.variant(number) for number in range(latent.batch)]
    return ([await asyncio.to_thread(paint, each, latent.width, latent.height) for each in variants],)


async def _save(_node: str, inputs: Values, context: NodeContext) -> Results:
    kind = "output" if "filename_prefix" in inputs else "temp"
    prefix = inputs.get("filename_prefix", "ComfyUI_temp")
    save, graph = context.files.save, context.graph
    return tuple([await asyncio.to_thread(save, each, prefix, kind, graph) for each in inputs["images"]])


SIMPLE: dict[str, Callable[[Values], Results]] = {
    "CheckpointLoaderSimple": lambda inputs: (inputs["ckpt_name"],) * 3,
    "UNETLoader": lambda inputs: (inputs["unet_name"],),
    "CLIPLoader": lambda inputs: (inputs["clip_name"],),
    "VAELoader": lambda inputs: (inputs["vae_name"],),
    "CLIPTextEncode": lambda inputs: (inputs["text"],),
    "EmptyLatentImage": lambda inputs: _empty_latent(inputs, 8),
    "EmptyFlux2LatentImage": lambda inputs: _empty_latent(inputs, 16),
    "EmptyImage": _empty,
    "ImageCrop": lambda inputs: ([_cropped(picture, inputs) for picture in inputs["image"]],),
}
RUNNERS: dict[str, Callable[[str, Values, NodeContext], Awaitable[Results]]] = {
    "KSampler": _sample,
    "VAEDecode": _decode,
    "SaveImage": _save,
    "PreviewImage": _save,
}
