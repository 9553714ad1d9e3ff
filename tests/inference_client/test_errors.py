"""Reasons of failures are short and contain no traceback, path or value."""

from typing import Any

import pytest

from huajuan.inference_client import JobCancelled
from huajuan.inference_client.errors import failure, rejection


def node_error(kind: str, name: str, message: str = "") -> dict[str, Any]:
    extra = {"input_name": name, "received_value": "/srv/x"}
    return {"type": kind, "message": message, "details": "Traceback in /srv/x", "extra_info": extra}


def test_the_nodes_errors_count_when_the_general_one_is_empty() -> None:
    answer = {
        "error": {"type": "prompt_outputs_failed_validation", "message": "", "details": "", "extra_info": {}},
        "node_errors": {
            "3": {"errors": [node_error("value_not_in_list", "sampler_name")], "class_type": "KSampler"}
        },
    }
    rejected = rejection(answer, 2000)
    assert rejected.reason == "the server refused the workflow: value_not_in_list (KSampler.sampler_name)"
    assert "/srv/x" in rejected.detail


def test_only_a_few_nodes_are_named() -> None:
    nodes = {str(n): {"errors": [node_error(f"kind_{n}", "a")], "class_type": "K"} for n in range(20)}
    assert rejection({"node_errors": nodes}, 2000).reason.count("kind_") == 3


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "x",
        {},
        {"error": None},
        {"error": {"type": "/etc/passwd\n"}},
        {"node_errors": {"1": {"errors": [3]}}},
    ],
)
def test_answers_of_any_shape_make_a_safe_reason(answer: object) -> None:
    reason = rejection(answer, 2000).reason
    assert reason.startswith("the server refused the workflow")
    assert "/" not in reason


def test_details_are_bounded() -> None:
    assert len(rejection({"error": {"message": "x" * 10_000}}, 2000).detail) == 2000


def entry(*messages: Any) -> dict[str, Any]:
    return {"status": {"status_str": "error", "messages": list(messages)}}


@pytest.mark.parametrize("kind", ["torch.OutOfMemoryError", "MemoryError", "RuntimeError"])
def test_memory_errors_of_all_kinds(kind: str) -> None:
    message = "DefaultCPUAllocator: can't allocate memory" if kind == "RuntimeError" else "Allocation failed"
    failed = failure(entry(["execution_error", {"exception_type": kind, "exception_message": message}]), 2000)
    assert failed.reason == "the server ran out of memory"


def test_a_node_s_name_reaches_the_reason_only_if_it_is_one() -> None:
    failed = failure(entry(["execution_error", {"node_type": "/srv/<script>"}]), 2000)
    assert failed.reason == "the server failed while drawing"


def test_interrupted_is_cancelled() -> None:
    assert isinstance(
        failure(entry(["execution_start", {}], ["execution_interrupted", {}]), 2000), JobCancelled
    )


@pytest.mark.parametrize("status", [None, {}, {"messages": None}, {"messages": [1, ["a"], ["a", 1]]}])
def test_records_without_messages_are_plain_failures(status: object) -> None:
    assert failure({"status": status}, 2000).reason == "the server failed while drawing"


def test_the_inputs_of_a_node_are_in_no_detail() -> None:
    """They may contain the prompt, and the detail is logged."""
    said = {"node_type": "CLIPTextEncode", "current_inputs": {"text": ["moon"]}, "current_outputs": ["moon"]}
    failed = failure(entry(["execution_error", said]), 2000)
    assert "CLIPTextEncode" in failed.detail
    assert "moon" not in failed.detail
