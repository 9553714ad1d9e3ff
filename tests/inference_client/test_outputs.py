"""The choice among several pictures: the one whose filename prefix is exactly `{prefix}`."""

import copy
from typing import Any

import pytest

from huajuan.inference_client import ComfyUI, WorkflowError, check_workflow, text_to_image
from huajuan.inference_client.checks import picture_nodes
from huajuan.inference_client.placeholders import Graph
from huajuan.inference_client.results import find_picture
from tests.inference_client.conftest import RunningDemo, drawing
from tests.inference_client.own_workflows import own_workflow


def saver(prefix: Any, source: str = "6") -> dict[str, Any]:
    return {"class_type": "SaveImage", "inputs": {"images": [source, 0], "filename_prefix": prefix}}


def two_passes(first: str = "10", second: str = "9") -> Graph:
    """The workflow with a second output of a fixed size."""
    workflow = own_workflow()
    workflow[second] = workflow.pop("7")
    blank = {"width": 64, "height": 64, "batch_size": 1, "color": 255}
    workflow["20"] = {"class_type": "EmptyImage", "inputs": blank}
    workflow[first] = saver("{prefix}_pass1", "20")
    return workflow


@pytest.mark.parametrize(
    ("first", "second"), [("10", "9"), ("9", "10"), ("a", "z"), ("12:3", "7"), ("7", "12:3")]
)
async def test_the_exactly_named_picture_is_taken(comfyui: ComfyUI, first: str, second: str) -> None:
    asked = drawing(width=80, height=72, workflow=two_passes(first, second))
    plain = await comfyui.draw(drawing(width=80, height=72, workflow=own_workflow()))
    assert (await comfyui.draw(asked)).content == plain.content


async def test_of_a_batch_the_first_is_taken(comfyui: ComfyUI) -> None:
    batch = own_workflow()
    batch["4"]["inputs"] |= {"batch_size": 3}
    first = await comfyui.draw(drawing(workflow=own_workflow()))
    assert (await comfyui.draw(drawing(workflow=batch))).content == first.content


async def test_a_preview_is_not_taken_for_it(comfyui: ComfyUI, server: RunningDemo) -> None:
    workflow = two_passes()
    workflow["10"] = {"class_type": "PreviewImage", "inputs": {"images": ["20", 0]}}
    asked = drawing(width=80, height=72, workflow=workflow)
    assert (await comfyui.draw(asked)).content


def test_two_exactly_named_pictures_are_refused() -> None:
    workflow = own_workflow() | {"12:3": saver("{filename_prefix}")}
    workflow["12:3"]["_meta"] = {"title": "final"}
    with pytest.raises(WorkflowError) as refused:
        check_workflow(workflow)
    assert str(refused.value).startswith('node 7 (SaveImage) and node 12:3 (SaveImage "final") both name')
    assert "\n" not in str(refused.value)


def test_two_pictures_of_which_none_is_exactly_named_are_refused() -> None:
    workflow = own_workflow() | {"7": saver("{prefix}_a"), "8": saver("{prefix}_b")}
    with pytest.raises(
        WorkflowError, match=r"node 7 \(SaveImage\) and node 8 \(SaveImage\) name their files"
    ):
        check_workflow(workflow)
    check_workflow(own_workflow() | {"7": saver("{prefix}_a")})


def test_a_name_that_comes_over_a_link_counts() -> None:
    workflow = own_workflow() | {"p": {"class_type": "PrimitiveString", "inputs": {"value": "{prefix}"}}}
    workflow["7"] = saver(["p", 0])
    check_workflow(workflow)
    assert picture_nodes(workflow) == ["7"]
    workflow["8"] = saver(["p", 0])
    with pytest.raises(WorkflowError, match=r"node 7 .* and node 8 .* both name"):
        check_workflow(workflow)


def test_a_node_with_linked_outputs_is_no_output_node() -> None:
    workflow = own_workflow()
    workflow["7"]["class_type"] = "SaveAndPass"
    workflow["8"] = saver("{prefix}", "7")
    check_workflow(workflow)
    assert picture_nodes(workflow) == ["8"]


def test_the_built_in_workflow_is_sound() -> None:
    check_workflow(text_to_image())
    with pytest.raises(WorkflowError, match="both name"):
        check_workflow(own_workflow() | {"8": saver("{prefix}")})


def kept(*names: str, subfolder: str = "jobs/ours", kind: str = "output") -> dict[str, Any]:
    return {"images": [{"filename": name, "subfolder": subfolder, "type": kind} for name in names]}


@pytest.mark.parametrize(
    ("outputs", "chosen"),
    [
        ({"1": kept("img_pass1_00001_.png"), "7": kept("img_00001_.png")}, "img_00001_.png"),
        ({"3": kept("img_00001_.png"), "5": kept("img_pass1_00001_.png")}, "img_00001_.png"),
        ({"3": kept("img_0_.webp"), "5": kept("x.png")}, "img_0_.webp"),
        ({"3": kept("a.webp"), "5": kept("a.png")}, "a.png"),
        ({"3": kept("img_00001_.png", kind="temp", subfolder=""), "5": kept("y.png")}, "y.png"),
        ({"7": kept("img_00002_.png", "img_00003_.png")}, "img_00002_.png"),
    ],
)
def test_the_picture_is_found_by_its_filename(outputs: dict[str, Any], chosen: str) -> None:
    workflow = copy.deepcopy(own_workflow())
    assert find_picture({"outputs": outputs}, "ours", workflow)["filename"] == chosen
    if "7" not in outputs:
        assert find_picture({"outputs": outputs}, "ours", {})["filename"] == chosen
