"""Sizes are rounded up to the server's grid and cropped, so that any size is met."""

import io
from typing import Any

import pytest
from PIL import Image, ImageChops

from huajuan.demo_comfyui.faults import Mode
from huajuan.inference_client import ComfyUI, Graph
from huajuan.inference_client.fill import fill, sent_size, text_to_image, values
from huajuan.inference_client.node_types import PlaceholderInputs, SizeGrid, SizeStep, described_classes
from tests.inference_client.conftest import FAST, RunningDemo, drawing
from tests.inference_client.own_workflows import DESCRIPTIONS, own_workflow
from tests.inference_client.test_compatibility import described


def flux2(*, crops: bool = False) -> Graph:
    """A workflow with latents of 16 pixels and separate loaders."""
    workflow = text_to_image() if crops else own_workflow()
    latent, checkpoint, save = ("latent", "checkpoint", "save") if crops else ("4", "1", "7")
    workflow[latent]["class_type"] = "EmptyFlux2LatentImage"
    assert {checkpoint, save} <= workflow.keys()
    return workflow


def size(png: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(png)).size


@pytest.mark.parametrize("crops", [False, True])
@pytest.mark.parametrize("asked", [(220, 200), (128, 136), (129, 1), (177, 168), (16, 24)])
async def test_latents_of_16_pixels(comfyui: ComfyUI, asked: tuple[int, int], crops: bool) -> None:
    job = drawing(width=asked[0], height=asked[1], steps=1, workflow=flux2(crops=crops))
    assert size((await comfyui.draw(job)).content) == asked


async def test_the_centre_is_cropped(comfyui: ComfyUI) -> None:
    crop = await comfyui.draw(drawing(width=100, height=40, workflow=flux2()))
    whole = await comfyui.draw(drawing(width=112, height=48, workflow=flux2()))
    middle = Image.open(io.BytesIO(whole.content)).crop((6, 4, 106, 44))
    assert ImageChops.difference(middle, Image.open(io.BytesIO(crop.content))).getbbox() is None


async def test_another_client_finishes_by_what_was_sent_whatever_the_server_says_now(
    server: RunningDemo, comfyui: ComfyUI
) -> None:
    asked = drawing(width=100, height=40, workflow=flux2())
    drawn = await comfyui.draw(asked)
    server.fault(Mode.OBJECT_INFO_HIDDEN, times=None)
    async with ComfyUI(server.url, limits=FAST) as other:
        assert (await other.finish(asked)).content == drawn.content


async def test_a_server_that_hides_its_inputs_gets_multiples_of_8(
    server: RunningDemo, comfyui: ComfyUI
) -> None:
    server.fault(Mode.OBJECT_INFO_HIDDEN, times=None)
    assert size((await comfyui.draw(drawing(width=220, height=200))).content) == (220, 200)
    asked = drawing(width=220, height=200, workflow=own_workflow())
    assert size((await comfyui.draw(asked)).content) == (220, 200)


async def test_descriptions_are_cached(comfyui: ComfyUI, monkeypatch: pytest.MonkeyPatch) -> None:
    await comfyui.draw(drawing(workflow=flux2()))
    asked: list[str] = []
    real = comfyui._transport.get

    async def get(path: str, *more: Any) -> Any:
        asked.append(path)
        return await real(path, *more)

    monkeypatch.setattr(comfyui._transport, "get", get)
    await comfyui.draw(drawing(workflow=flux2()))
    assert not [path for path in asked if "object_info" in path or "models" in path]


def test_every_size_is_met() -> None:
    grid = PlaceholderInputs(flux2(), DESCRIPTIONS).grid()
    for pixels in range(128, 1025):
        drawn = grid.width.rounded_up(pixels)
        assert drawn % 16 == 0
        assert 0 <= drawn - pixels < 16


def with_step(said: Any, workflow: Graph | None = None) -> SizeGrid:
    return PlaceholderInputs(workflow or own_workflow(), described("EmptyLatentImage", "width", said)).grid()


@pytest.mark.parametrize(
    ("said", "step"),
    [
        (["INT", {"min": 16, "step": 8}], SizeStep(8, 16)),
        (["INT", {"min": 16, "step": 32}], SizeStep(32, 16)),
        (["INT", {"min": 100, "step": 64}], SizeStep(64, 100)),
        (["INT", {"min": 1, "step": 1}], SizeStep(8, 16)),
        (["INT", {"min": 1, "step": 12}], SizeStep(24, 16)),
        (["INT", {"step": 16.0}], SizeStep(16, 16)),
        (["INT", {"step": 0.5}], SizeStep()),
        (["INT", {"step": 0, "min": -5}], SizeStep()),
        (["INT", {"step": 10**9, "min": 10**9}], SizeStep()),
        (["INT", {"step": "16"}], SizeStep()),
        (["INT", {"step": True}], SizeStep()),
        (["INT"], SizeStep()),
        (["FLOAT", {"step": 64}], SizeStep()),
        ([], SizeStep()),
        (None, SizeStep()),
    ],
)
def test_steps_are_read_from_whatever_a_server_says(said: Any, step: SizeStep) -> None:
    assert with_step(said) == SizeGrid(width=step)


def test_a_minimum_that_is_no_step_is_rounded_up() -> None:
    assert SizeStep(64, 100).rounded_up(128) == 128
    assert SizeStep(64, 100).rounded_up(20) == 128


def test_the_step_is_found_behind_a_node_that_only_passes_the_size_on() -> None:
    workflow = flux2()
    workflow["w"] = {"class_type": "PrimitiveInt", "inputs": {"value": "{width}"}}
    workflow["4"]["inputs"]["width"] = ["w", 0]
    assert "EmptyFlux2LatentImage" in described_classes(workflow)
    assert PlaceholderInputs(workflow, DESCRIPTIONS).grid() == SizeGrid(SizeStep(16, 16), SizeStep(16, 16))


def test_other_nodes_steps_do_not_count() -> None:
    workflow = text_to_image()
    assert "ImageCrop" not in described_classes(workflow)
    assert (
        PlaceholderInputs(workflow, described("ImageCrop", "width", ["INT", {"step": 64}])).grid()
        == SizeGrid()
    )


def test_the_size_that_was_sent_is_read_within_reason() -> None:
    asked = drawing(width=100, height=40, workflow=flux2())
    graph = fill(flux2(), values(asked, "a", SizeGrid(SizeStep(16), SizeStep(16))))
    assert sent_size(graph, asked) == (112, 48)
    for lie in (99, 10**9, "112", None, True, [112]):
        graph["4"]["inputs"]["width"] = lie
        assert sent_size(graph, asked) is None
    assert sent_size({}, asked) is None
