"""A workflow of one's own, drawn over real HTTP: sizes are met, and what drew is told."""

import io

import pytest
from PIL import Image, ImageChops

from huajuan.demo_comfyui.nodes import CHECKPOINT
from huajuan.inference_client import ComfyUI, Rejected, ServerUnavailable
from huajuan.inference_client.comparing import compare
from huajuan.inference_client.workflow import text_to_image
from tests.inference_client.conftest import FAST, RunningPainter, drawing
from tests.inference_client.own_workflows import own_workflow, with_input


def opened(png: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(png))
    picture.load()
    return picture


@pytest.mark.parametrize("size", [(48, 64), (220, 200), (33, 1), (17, 250)])
async def test_without_a_crop_of_its_own_the_middle_is_taken(comfyui: ComfyUI, size: tuple[int, int]) -> None:
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


async def test_what_drew_is_told(comfyui: ComfyUI) -> None:
    drawn = await comfyui.draw(drawing())
    assert (drawn.checkpoint, drawn.version) == (CHECKPOINT, "0.33.0-demo-painter")
    literal = drawing(workflow=with_input("1", ckpt_name=CHECKPOINT))
    assert (await comfyui.draw(literal)).checkpoint == CHECKPOINT


async def test_who_only_finishes_a_job_tells_what_drew_as_well(
    painter: RunningPainter, comfyui: ComfyUI
) -> None:
    asked = drawing(workflow=own_workflow(), width=51)
    drawn = await comfyui.draw(asked)
    async with ComfyUI(painter.url, limits=FAST) as other:
        assert await other.finish(asked) == drawn


async def test_each_drawing_has_its_own_workflow(comfyui: ComfyUI) -> None:
    plain, own = drawing(prompt="moon"), drawing(prompt="moon", workflow=own_workflow())
    assert (await comfyui.draw(plain)).content != (await comfyui.draw(own)).content


async def test_a_server_is_asked_whether_a_workflow_fits(comfyui: ComfyUI) -> None:
    assert await comfyui.misfits(text_to_image()) == []
    assert await comfyui.misfits(with_input("5", steps=0)) == [
        "node 5 (KSampler), input steps: it is 0, less than 1"
    ]
    strange = own_workflow() | {"5": {"class_type": "K/Sampler ?#é", "inputs": {"seed": "{seed}"}}}
    assert await comfyui.misfits(strange) == ["node 5 (K/Sampler ?#é): the server has no such kind of node"]


async def test_a_server_that_is_not_there_says_nothing() -> None:
    async with ComfyUI("http://127.0.0.1:1", limits=FAST) as nobody:
        with pytest.raises(ServerUnavailable):
            await nobody.misfits(text_to_image())


async def test_a_rejection_names_node_and_hole(comfyui: ComfyUI, painter: RunningPainter) -> None:
    asked = drawing(workflow=with_input("5", cfg="{prompt}"))
    with pytest.raises(Rejected) as refused:
        await comfyui.draw(asked)
    assert refused.value.reason == (
        "the workflow does not fit the server: node 5 (KSampler), input cfg, hole {prompt}"
    )
    assert refused.value.detail.startswith(
        "node 5 (KSampler), input cfg, hole {prompt}: it takes a number (FLOAT), no text; {"
    )
    assert painter.runs(asked) == 0


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
