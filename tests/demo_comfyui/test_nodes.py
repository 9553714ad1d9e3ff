"""The demo server validates graphs as ComfyUI does, with errors of the same form."""

from typing import Any
from uuid import uuid4

import pytest

from tests.inference_client.conftest import RunningDemo
from tests.inference_client.prompts import blank, ended, graph, post


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({}, "no_prompt"),
        ({"prompt": {}}, "prompt_no_outputs"),
        ({"prompt": {"1": {"class_type": "Nonsense", "inputs": {}}}}, "missing_node_type"),
        ({"prompt": {"1": {"inputs": {}}}}, "missing_node_type"),
        ({"prompt": blank(), "prompt_id": "A" * 8}, "invalid_prompt_id"),
        ({"prompt": blank(), "prompt_id": str(uuid4()).upper()}, "invalid_prompt_id"),
        ({"prompt": blank(width=0)}, "prompt_outputs_failed_validation"),
    ],
)
def test_refusals_have_the_real_shape(demo: RunningDemo, body: dict[str, Any], kind: str) -> None:
    answer = demo.http.post("/prompt", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == kind
    assert set(answer.json()["error"]) == {"type", "message", "details", "extra_info"}


@pytest.mark.parametrize(
    ("node", "changes", "kind"),
    [
        ("sampler", {"sampler_name": "plms"}, "value_not_in_list"),
        ("sampler", {"seed": -1}, "value_smaller_than_min"),
        ("sampler", {"seed": 2**64}, "value_bigger_than_max"),
        ("sampler", {"steps": "many"}, "invalid_input_type"),
        ("sampler", {"model": ["checkpoint", 1]}, "return_type_mismatch"),
        ("sampler", {"model": ["checkpoint"]}, "bad_linked_input"),
        ("sampler", {"model": ["nowhere", 0]}, "exception_during_inner_validation"),
        ("sampler", {"latent_image": ["sampler", 0]}, "dependency_cycle"),
        ("latent", {"width": 8}, "value_smaller_than_min"),
    ],
)
def test_nodes_are_checked(demo: RunningDemo, node: str, changes: dict[str, Any], kind: str) -> None:
    spoilt = graph()
    spoilt[node]["inputs"] |= changes
    errors = post(demo, spoilt).json()["node_errors"][node]
    assert [each["type"] for each in errors["errors"]] == [kind]
    assert errors["dependent_outputs"] == ["save"]


def test_a_missing_input_is_named(demo: RunningDemo) -> None:
    spoilt = graph()
    del spoilt["sampler"]["inputs"]["cfg"]
    error = post(demo, spoilt).json()["node_errors"]["sampler"]["errors"][0]
    assert (error["type"], error["extra_info"]["input_name"]) == ("required_input_missing", "cfg")


async def test_the_sound_half_of_a_graph_runs(demo: RunningDemo) -> None:
    both = blank() | {"3": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}}}
    answer = post(demo, both).json()
    assert set(answer["node_errors"]) == {"3"}
    assert set((await ended(demo, answer["prompt_id"]))["outputs"]) == {"2"}


async def test_numbers_in_words_are_numbers_and_sizes_are_floored(demo: RunningDemo) -> None:
    words = graph(width=216, height=216)
    words["latent"]["inputs"] |= {"width": "220", "height": 220.7}
    entry = await ended(demo, post(demo, words).json()["prompt_id"])
    assert entry["status"]["status_str"] == "success"
