"""The syntax of placeholders: defaults, doubled braces, and other braces."""

from typing import Any

import pytest

from huajuan.inference_client.fill import fill, values, with_checkpoint
from huajuan.inference_client.placeholders import Graph, WorkflowError, check_placeholders, placeholders
from tests.inference_client.conftest import drawing
from tests.inference_client.own_workflows import own_workflow, with_input


def filled(text: str, **changes: Any) -> Any:
    workflow = with_input("3", text=text)
    return fill(workflow, values(drawing(prompt="moon", **changes), "a.ckpt"))["3"]["inputs"]["text"]


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("{negative_prompt}", ""),
        ("{negative_prompt|blurry, (hands:1.2)}", "blurry, (hands:1.2)"),
        ("ugly, {negative_prompt|blurry}, dark", "ugly, blurry, dark"),
        ("{negative_prompt|}", ""),
        ("{negative_prompt|a|b}", "a|b"),
        ("{negative_prompt|{{a|b}} of c}", "{a|b} of c"),
        ("{negative_prompt|:}}}", ":}"),
        ("{negative_prompt|模糊\n第二行}", "模糊\n第二行"),
        ("{prompt|nothing}", "moon"),
        ("{noise_seed|1}-{steps|1}", "7-3"),
        ("{{prompt}}", "{prompt}"),
        ("{{prompt|sun}} {prompt}", "{prompt|sun} moon"),
        ("{{mood}}, {{masterpiece}}", "{mood}, {masterpiece}"),
        ("{red|blue} sky", "{red|blue} sky"),
        ("{{red|blue} sky|{prompt}}", "{{red|blue} sky|moon}"),
        ("{red|{prompt}|blue}", "{red|moon|blue}"),
        ("{2$$red|blue|green}", "{2$$red|blue|green}"),
        ('{"a": {"b": 1}, "width": 5}', '{"a": {"b": 1}, "width": 5}'),
        ("a } b { c {} {{}} {{ x }}", "a } b { c {} {{}} {{ x }}"),
        ("__colour__ <lora:x:1>", "__colour__ <lora:x:1>"),
    ],
)
def test_a_text_is_filled(text: str, becomes: str) -> None:
    assert filled(text) == becomes


def test_a_value_comes_before_the_default() -> None:
    assert filled("{negative_prompt|blurry}", negative_prompt="rain") == "rain"


def test_braces_in_a_value_are_kept() -> None:
    workflow = with_input("3", text="{negative_prompt|{{prompt}}} {prompt}")
    graph = fill(workflow, values(drawing(prompt="{{seed}} {seed|x}"), "a"))
    assert graph["3"]["inputs"]["text"] == "{prompt} {{seed}} {seed|x}"


def test_a_single_placeholder_with_a_default_takes_the_type_of_the_value() -> None:
    workflow = with_input("5", steps="{steps|20}", seed="{seed|1}")
    inputs = fill(workflow, values(drawing(steps=9), "a"))["5"]["inputs"]
    assert (inputs["steps"], inputs["seed"]) == (9, 7)


def test_placeholders_are_found_with_their_default_and_not_in_doubled_braces() -> None:
    assert "negative_prompt" in placeholders(with_input("3", text="{negative_prompt|blurry}"))
    assert "negative_prompt" not in placeholders(
        with_input("3", text="{{negative_prompt|blurry}} {{negative_prompt}}")
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{mood}", r"unknown placeholder \{mood\}, there are .*; write \{\{mood\}\} for the text itself$"),
        (
            "{negative_prompt|{blurry}, dark}",
            r"node 3 \(CLIPTextEncode\), input text: a placeholder's default does not end",
        ),
        (
            "{negative_prompt|blurry",
            r"a placeholder's default does not end, each brace within it is written twice",
        ),
    ],
)
def test_malformed_placeholders_are_refused(text: str, why: str) -> None:
    with pytest.raises(WorkflowError, match=why):
        check_placeholders(with_input("3", text=text))


def test_a_required_placeholder_in_doubled_braces_is_missing() -> None:
    with pytest.raises(WorkflowError, match=r"no node has the placeholder \{prompt\}"):
        check_placeholders(with_input("2", text="{{prompt}}"))


def test_naming_the_checkpoint_leaves_everything_else_as_it_was() -> None:
    workflow: Graph = own_workflow()
    workflow["3"]["inputs"]["text"] = "{negative_prompt|blurry} {{mood}} {prompt}"
    workflow["1"]["inputs"]["ckpt_name"] = "{checkpoint|other.ckpt}"
    named = with_checkpoint(workflow, "my.ckpt")
    assert named["1"]["inputs"] == {"ckpt_name": "my.ckpt"}
    assert named["3"] == workflow["3"]
    assert with_checkpoint(workflow, "") == workflow
