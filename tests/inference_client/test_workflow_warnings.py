"""Warnings about a workflow file: formats, sizes, batches and ignored parameters."""

from typing import Any

import pytest

from huajuan.inference_client import Graph, not_applied, text_to_image, workflow_warnings
from tests.inference_client.own_workflows import own_workflow, with_input
from tests.inference_client.test_outputs import saver

SAVER = "node 7 (SaveImage)"


def whole(**nodes: Any) -> Graph:
    """A workflow with all placeholders, and additional or changed nodes."""
    workflow = with_input("5", steps="{steps}", sampler_name="{sampler}", scheduler="{scheduler}")
    return workflow | {name.removeprefix("n"): node for name, node in nodes.items()}


def scaled(kind: str, **inputs: Any) -> Graph:
    """A node between the decoder and the output node."""
    return whole(n8={"class_type": kind, "inputs": {"image": ["6", 0]} | inputs}, n7=saver("{prefix}", "8"))


def latent(**inputs: Any) -> Graph:
    """A latent of a fixed size; the size placeholders are in a text."""
    workflow = whole()
    workflow["4"] = {"class_type": "EmptyLatentImage", "inputs": inputs}
    workflow["2"]["inputs"]["text"] = "{prompt}, {width}x{height}"
    return workflow


def kept_as(kind: str, **inputs: Any) -> Graph:
    return whole(
        n7={"class_type": kind, "inputs": {"images": ["6", 0], "filename_prefix": "{prefix}"} | inputs}
    )


TOLD: dict[str, tuple[Graph, list[str]]] = {
    "all well": (whole(), []),
    "the built-in one": (text_to_image(), []),
    "animated": (
        kept_as("SaveAnimatedWEBP"),
        ["node 7 (SaveAnimatedWEBP): it keeps no PNG, and only PNG pictures are taken"],
    ),
    "the socket": (
        kept_as("SaveImageWebsocket"),
        ["node 7 (SaveImageWebsocket): it keeps no PNG, and only PNG pictures are taken"],
    ),
    "a format": (
        kept_as("Image Save", extension="jpg"),
        ["node 7 (Image Save), input extension: it is 'jpg', and only PNG pictures are taken"],
    ),
    "png": (kept_as("Image Save", extension="png"), []),
    "animated png": (kept_as("SaveAnimatedPNG"), []),
    "scaled up by a model": (
        scaled("ImageUpscaleWithModel"),
        ["node 8 (ImageUpscaleWithModel): it changes the size after it was set, "
         "and a picture of another size than asked is not taken"],
    ),
    "scaled by one": (scaled("ImageScaleBy", scale_by=1.0), []),
    "scaled to a constant": (
        scaled("ImageScale", width=1024, height=768),
        ["node 8 (ImageScale): it makes every picture 1024x768, whatever size is asked for"],
    ),
    "scaled to what was asked": (scaled("ImageScale", width="{width}", height="{height}"), []),
    "a constant latent": (
        latent(width=512, height=640),
        ["node 4 (EmptyLatentImage): it makes every picture 512x640, whatever size is asked for"],
    ),
    "one over a link": (latent(width=["1", 0], height=["1", 0]), []),
    "a batch": (
        latent(width="{width}", height="{height}", batch_size=4),
        [
            "node 4 (EmptyLatentImage), input batch_size: "
            "4 pictures are drawn at once, the first alone is taken",
        ],
    ),
    "a repeated latent": (
        whole(r={"class_type": "RepeatLatentBatch", "inputs": {"samples": ["4", 0], "amount": 2}}),
        ["node r (RepeatLatentBatch), input amount: 2 pictures are drawn at once, the first alone is taken"],
    ),
    "its own steps and sampler": (
        own_workflow(),
        [
            "no node has the placeholder {steps}: steps of a request changes nothing, "
            "the workflow's own is used",
            "no node has the placeholder {sampler}: sampling_method of a request changes nothing, "
            "the workflow's own is used",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("workflow", "told"), TOLD.values(), ids=TOLD)
def test_workflow_warnings(workflow: Graph, told: list[str]) -> None:
    assert workflow_warnings(workflow) == told


def test_not_applied() -> None:
    assert not_applied(own_workflow()) == ["steps", "sampling_method"]
    assert not_applied(with_input("5", steps="{steps|4}")) == ["sampling_method"]
    assert not_applied(with_input("5", steps="{{steps}}")) == ["steps", "sampling_method"]
    assert not_applied(text_to_image()) == []
