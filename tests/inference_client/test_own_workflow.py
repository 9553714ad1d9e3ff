"""A custom workflow over HTTP: sizes, checkpoint and version."""

import io

import pytest
from PIL import Image, ImageChops

from huajuan.demo_comfyui.nodes import CHECKPOINT
from huajuan.inference_client import ComfyUI, ServerUnavailable, WorkflowRejected
from huajuan.inference_client.fill import text_to_image
from huajuan.inference_client.picture import compare
from tests.inference_client.conftest import FAST, RunningDemo, drawing
from tests.inference_client.own_workflows import own_workflow, with_input


def opened(png: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(png))
    picture.load()
    return picture


@pytest.mark.parametrize("size", [(48, 64), (220, 200), (33, 1), (17, 250)])
async def test_without_a_crop_node_the_client_crops_the_centre(
    comfyui: ComfyUI, size: tuple[int, int]
) -> None:
    asked = drawing(width=size[0], height=size[1], workflow=own_workflow())
    drawn = await comfyui.draw(asked)
    assert opened(drawn.content).size == size
    whole = drawing(
        width=max(16, -(-size[0] // 8) * 8), height=max(16, -(-size[1] // 8) * 8), workflow=own_workflow()
    )
    uncut = opened((await comfyui.draw(whole)).content)
    left, top = (uncut.width - size[0]) // 2, (uncut.height - size[1]) // 2
    middle = uncut.crop((left, top, left + size[0], top + size[1]))
    assert ImageChops.difference(middle, opened(drawn.content)).getbbox() is None


async def test_checkpoint_and_version_are_returned(comfyui: ComfyUI) -> None:
    drawn = await comfyui.draw(drawing())
    assert (drawn.checkpoint, drawn.version) == (CHECKPOINT, "0.33.0-demo-painter")
    literal = drawing(workflow=with_input("1", ckpt_name=CHECKPOINT))
    assert (await comfyui.draw(literal)).checkpoint == CHECKPOINT


async def test_finish_returns_checkpoint_and_version(server: RunningDemo, comfyui: ComfyUI) -> None:
    asked = drawing(workflow=own_workflow(), width=51)
    drawn = await comfyui.draw(asked)
    async with ComfyUI(server.url, limits=FAST) as other:
        assert await other.finish(asked) == drawn


async def test_each_drawing_has_its_own_workflow(comfyui: ComfyUI) -> None:
    plain, own = drawing(prompt="moon"), drawing(prompt="moon", workflow=own_workflow())
    assert (await comfyui.draw(plain)).content != (await comfyui.draw(own)).content


async def test_compatibility_is_checked_at_the_server(comfyui: ComfyUI) -> None:
    assert await comfyui.check_compatibility(text_to_image()) == []
    assert await comfyui.check_compatibility(with_input("5", steps=0)) == [
        "node 5 (KSampler), input steps: it is 0, less than 1"
    ]
    strange = own_workflow() | {"5": {"class_type": "K/Sampler ?#é", "inputs": {"seed": "{seed}"}}}
    assert await comfyui.check_compatibility(strange) == [
        "node 5 (K/Sampler ?#é): the server has no such kind of node"
    ]


async def test_compatibility_of_an_unreachable_server_is_unknown() -> None:
    async with ComfyUI("http://127.0.0.1:1", limits=FAST) as nobody:
        with pytest.raises(ServerUnavailable):
            await nobody.check_compatibility(text_to_image())


async def test_a_rejection_names_node_and_placeholder(comfyui: ComfyUI, server: RunningDemo) -> None:
    asked = drawing(workflow=with_input("5", cfg="{prompt}"))
    with pytest.raises(WorkflowRejected) as refused:
        await comfyui.draw(asked)
    assert refused.value.reason == (
        "the workflow does not fit the server: node 5 (KSampler), input cfg, placeholder {prompt}"
    )
    assert refused.value.detail.startswith(
        "node 5 (KSampler), input cfg, placeholder {prompt}: it takes a number (FLOAT), no text; {"
    )
    assert server.runs(asked) == 0


def test_equal_pixels_are_equal_whatever_else_is_in_the_file() -> None:
    grey, red = Image.new("L", (3, 2), 128), Image.new("RGB", (3, 2), (128, 128, 128))
    assert compare(_png(grey), _png(red)).are_equal
    red.putpixel((1, 1), (128, 131, 126))
    found = compare(_png(grey), _png(red))
    assert (found.are_equal, found.pixels_differing, found.difference_max) == (False, 1, 3)
    assert not compare(_png(grey), _png(Image.new("L", (2, 3), 128))).are_equal
    clear = red.copy()
    clear.putalpha(254)
    assert compare(_png(red), _png(clear)).pixels_differing == 6


def _png(picture: Image.Image) -> bytes:
    made = io.BytesIO()
    picture.save(made, "PNG")
    return made.getvalue()
