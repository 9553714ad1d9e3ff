"""The built-in workflow, and filling placeholders."""

from typing import Any
from uuid import UUID

import pytest

from huajuan.inference_client.fill import fill, text_to_image, values
from huajuan.inference_client.placeholders import WorkflowError, check_placeholders, placeholders
from tests.inference_client.conftest import drawing

JOB = UUID("0190cafe-0000-4000-8000-0000000000aa")


def filled(**changes: Any) -> dict[str, Any]:
    return fill(text_to_image(), values(drawing(prompt_id=JOB, **changes), "a.safetensors"))


def inputs(graph: dict[str, Any], class_type: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        node["inputs"] for node in graph.values() if node["class_type"] == class_type
    )
    return found


def test_every_placeholder_is_filled_with_its_own_type() -> None:
    graph = filled(prompt="日出", negative_prompt="rain", steps=30, noise_seed=2**64 - 2)
    assert placeholders(graph) == set()
    assert inputs(graph, "KSampler")["seed"] == 2**64 - 2
    assert inputs(graph, "KSampler")["steps"] == 30
    assert graph["positive"]["inputs"]["text"] == "日出"
    assert graph["negative"]["inputs"]["text"] == "rain"
    assert inputs(graph, "CheckpointLoaderSimple") == {"ckpt_name": "a.safetensors"}
    assert inputs(graph, "SaveImage")["filename_prefix"] == f"jobs/{JOB}/img"


def test_the_largest_seed_is_sent_as_the_one_before() -> None:
    assert inputs(filled(noise_seed=2**64 - 1), "KSampler")["seed"] == 2**64 - 2


@pytest.mark.parametrize(
    ("wanted", "latent", "left"), [(220, 224, 2), (224, 224, 0), (217, 224, 3), (1023, 1024, 0), (3, 16, 6)]
)
def test_sizes_are_rounded_up_and_cropped_from_the_middle(wanted: int, latent: int, left: int) -> None:
    graph = filled(width=wanted, height=wanted)
    assert inputs(graph, "EmptyLatentImage") == {"width": latent, "height": latent, "batch_size": 1}
    crop = inputs(graph, "ImageCrop")
    assert (crop["width"], crop["height"], crop["x"], crop["y"]) == (wanted, wanted, left, left)


@pytest.mark.parametrize(
    ("method", "sampler", "scheduler"),
    [("DDIM", "ddim", "ddim_uniform"), ("PLMS", "ipndm", "normal"), ("K-LMS", "lms", "karras")],
)
def test_sampling_methods_have_their_samplers(method: str, sampler: str, scheduler: str) -> None:
    chosen = inputs(filled(sampling_method=method), "KSampler")
    assert (chosen["sampler_name"], chosen["scheduler"]) == (sampler, scheduler)


def test_values_that_look_like_placeholders_stay() -> None:
    graph = filled(prompt="{noise_seed}")
    assert graph["positive"]["inputs"]["text"] == "{noise_seed}"


def test_a_placeholder_within_a_text_is_filled_as_text() -> None:
    workflow = text_to_image()
    workflow["positive"]["inputs"]["text"] = "ink scroll, {prompt}, {steps} strokes"
    graph = fill(workflow, values(drawing(prompt="moon", steps=9), "a"))
    assert graph["positive"]["inputs"]["text"] == "ink scroll, moon, 9 strokes"


def test_filling_leaves_the_workflow_as_it_was() -> None:
    workflow = text_to_image()
    fill(workflow, values(drawing(), "a"))
    assert workflow == text_to_image()


def test_an_unknown_placeholder_is_refused() -> None:
    workflow = text_to_image()
    workflow["sampler"]["inputs"]["cfg"] = "{guidance}"
    with pytest.raises(WorkflowError, match="guidance"):
        check_placeholders(workflow)


def test_a_workflow_that_would_ignore_the_prompt_is_refused() -> None:
    workflow = text_to_image()
    workflow["positive"]["inputs"]["text"] = "always the same"
    with pytest.raises(WorkflowError, match="prompt"):
        check_placeholders(workflow)


def test_the_editor_s_own_format_is_refused() -> None:
    with pytest.raises(WorkflowError, match="API format"):
        check_placeholders({"nodes": [], "links": [], "version": 0.4})


def test_a_placeholder_without_a_value_is_refused() -> None:
    filling = values(drawing(), "a")
    del filling["steps"]
    with pytest.raises(WorkflowError, match="steps"):
        fill(text_to_image(), filling)


OUT_OF_RANGE: list[dict[str, Any]] = [
    {"prompt": "\ud800"},
    {"noise_seed": -1},
    {"noise_seed": 2**64},
    {"sampling_method": "plms"},
    {"width": 0},
    {"steps": 0},
]


@pytest.mark.parametrize("wrong", OUT_OF_RANGE)
def test_drawings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(WorkflowError):
        values(drawing(**wrong), "a")
