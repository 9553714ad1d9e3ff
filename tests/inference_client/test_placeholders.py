"""Checks of a workflow file: each problem is one line with node and placeholder."""

from typing import Any

import pytest

from huajuan.inference_client.fill import text_to_image
from huajuan.inference_client.placeholders import WorkflowError, check_placeholders, placeholders
from tests.inference_client.own_workflows import own_workflow, with_input

NO_INPUTS = own_workflow() | {"3": {"class_type": "CLIPTextEncode"}}
NO_CLASS = own_workflow() | {"3": {"inputs": {}}}
IN_A_LOOP = own_workflow() | {
    "2": {"class_type": "A", "inputs": {"text": "{prompt}", "in": ["3", 0]}},
    "3": {"class_type": "B", "inputs": {"in": ["2", 0]}},
}
WRONG: dict[str, tuple[Any, str]] = {
    "a list": ([], "not in API format: it is no object"),
    "nothing in it": ({}, "not in API format: it is no object"),
    "a word": ("workflow", "not in API format: it is no object"),
    "the editor's": ({"nodes": [], "links": [], "version": 0.4}, r"the editor's own: use Export \(API\)"),
    "no class": (NO_CLASS, "node 3 has no class_type"),
    "no inputs": (NO_INPUTS, r"node 3 \(CLIPTextEncode\) has no inputs"),
    "unknown placeholder": (
        with_input("5", cfg="{guidance}"),
        r"^node 5 \(KSampler\), input cfg: unknown placeholder \{guidance\}, there are checkpoint, crop_x, ",
    ),
    "a title": (
        with_input("2", text="{prompt} {mood}"),
        r'^node 2 \(CLIPTextEncode "What is \{wanted\}"\), input text: unknown placeholder \{mood\}',
    ),
    "no prompt": (
        with_input("2", text="x"),
        r"no node has the placeholder \{prompt\}, and every picture would be the same",
    ),
    "no seed": (
        with_input("5", seed=7),
        r"no node has the placeholder \{seed\}, and a seed would change nothing",
    ),
    "no width": (
        with_input("4", width=512),
        r"no node has the placeholder \{width\}, and every picture would have",
    ),
    "no height": (with_input("4", height=512), r"no node has the placeholder \{height\}"),
    "no prefix": (
        with_input("7", filename_prefix="x"),
        r"no node has the placeholder \{prefix\}, and a picture could not",
    ),
    "lost link": (
        with_input("6", samples=["50", 0]),
        r"^node 6 \(VAEDecode\), input samples: it is linked to node 50, which is not there$",
    ),
    "a loop": (IN_A_LOOP, r"^node [23] \([AB]\): its links lead back to itself$"),
}


@pytest.mark.parametrize(("workflow", "why"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_refused_in_one_line(workflow: Any, why: str) -> None:
    with pytest.raises(WorkflowError, match=why) as refused:
        check_placeholders(workflow)
    assert len(str(refused.value).splitlines()) == 1


def test_everything_that_is_wrong_is_told_at_once_and_no_more_than_a_few() -> None:
    workflow = with_input("4", width=1, height=1) | {
        f"x{n}": {"class_type": "X", "inputs": {"a": "{unheard_of}"}} for n in range(9)
    }
    with pytest.raises(WorkflowError, match=r"node x4 .*; and 6 more$"):
        check_placeholders(workflow)


def test_names_from_a_file_cannot_steer_the_terminal() -> None:
    workflow = own_workflow() | {"\x1b[2J\n": {"class_type": "X\n" * 99, "inputs": {"a\r": "{b}"}}}
    with pytest.raises(WorkflowError) as refused:
        check_placeholders(workflow)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("workflow", [own_workflow(), text_to_image()])
def test_what_is_sound_passes(workflow: Any) -> None:
    check_placeholders(workflow)


def test_holes_are_known_by_comfyui_s_own_names_too() -> None:
    workflow = with_input("5", seed="{noise_seed}")
    workflow["7"]["inputs"]["filename_prefix"] = "{filename_prefix}"
    check_placeholders(workflow)
    assert placeholders(workflow) == {"checkpoint", "prompt", "seed", "width", "height", "prefix"}


def test_a_title_is_no_hole() -> None:
    workflow = own_workflow()
    assert workflow["2"]["_meta"]["title"] == "What is {wanted}"
    assert "wanted" not in placeholders(workflow)
