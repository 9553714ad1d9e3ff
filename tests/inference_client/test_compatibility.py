"""Compatibility of workflows with node types: each problem names node, input and placeholder."""

import copy
from typing import Any

import pytest

from huajuan.inference_client.checks import find_problems
from huajuan.inference_client.fill import text_to_image
from huajuan.inference_client.placeholders import Graph
from tests.inference_client.own_workflows import DESCRIPTIONS, own_workflow, with_input

KSAMPLER, LATENT, SAVE, TEXT = (
    "node 5 (KSampler)",
    "node 4 (EmptyLatentImage)",
    "node 7 (SaveImage)",
    'node 2 (CLIPTextEncode "What is {wanted}")',
)
WRONG: dict[str, tuple[Graph, str]] = {
    "missing": (with_input("5", cfg=None), f"{KSAMPLER}, input cfg: it is required and not there"),
    "not listed": (
        with_input("5", sampler_name="plms"),
        f"{KSAMPLER}, input sampler_name: the server has no 'plms', it has 'euler', "
        "'euler_ancestral', 'heun', 'dpm_2', 'dpm_2_ancestral', …",
    ),
    "no such model": (
        with_input("1", ckpt_name="ink.safetensors"),
        "node 1 (CheckpointLoaderSimple), input ckpt_name: the server has no 'ink.safetensors', "
        "it has 'demo-painter (no model).safetensors'",
    ),
    "too few": (with_input("5", steps=0), f"{KSAMPLER}, input steps: it is 0, less than 1"),
    "too many": (with_input("4", batch_size=9), f"{LATENT}, input batch_size: it is 9, more than 8"),
    "no number": (
        with_input("5", cfg="a lot"),
        f"{KSAMPLER}, input cfg: it takes a number (FLOAT), and is 'a lot'",
    ),
    "no link": (
        with_input("6", vae="best.vae"),
        "node 6 (VAEDecode), input vae: it takes a link to VAE, and is 'best.vae'",
    ),
    "wrong output": (
        with_input("5", model=["1", 1]),
        f"{KSAMPLER}, input model: it takes MODEL and is linked to CLIP of node 1 (CheckpointLoaderSimple)",
    ),
    "no output": (
        with_input("5", model=["1", 3]),
        f"{KSAMPLER}, input model: it is linked to output 3 of node 1 (CheckpointLoaderSimple), which has 3",
    ),
    "a text for a number": (
        with_input("5", steps="{steps} steps"),
        f"{KSAMPLER}, input steps, placeholder {{steps}}: it takes a number (INT), no text",
    ),
    "a prompt for a number": (
        with_input("5", cfg="{prompt}"),
        f"{KSAMPLER}, input cfg, placeholder {{prompt}}: it takes a number (FLOAT), no text",
    ),
    "a placeholder for a link": (
        with_input("5", model="{checkpoint}"),
        f"{KSAMPLER}, input model, placeholder {{checkpoint}}: it takes a link to MODEL, no value",
    ),
    "the scheduler for a sampler": (
        with_input("5", sampler_name="{scheduler}"),
        f"{KSAMPLER}, input sampler_name, placeholder {{scheduler}}: "
        "its list has none of ddim_uniform, karras, normal",
    ),
    "a number for a choice": (
        with_input("5", sampler_name="{steps}"),
        f"{KSAMPLER}, input sampler_name, placeholder {{steps}}: it takes one of a list",
    ),
    "a placeholder that goes nowhere": (
        with_input("2", promt="{prompt}"),
        f"{TEXT}, input promt, placeholder {{prompt}}: "
        "the server does not know this input, so it would change nothing",
    ),
    "nothing is kept": (
        own_workflow()
        | {"7": {"class_type": "CLIPTextEncode", "inputs": {"text": "{prefix}", "clip": ["1", 1]}}},
        "no node keeps a picture: one such as SaveImage must be linked to an image",
    ),
    "no such node": (
        own_workflow() | {"5": {"class_type": "KSamplerPlus", "inputs": {"seed": "{seed}"}}},
        "node 5 (KSamplerPlus): the server has no such kind of node",
    ),
}


@pytest.mark.parametrize(("workflow", "why"), WRONG.values(), ids=WRONG)
def test_incompatibilities_are_named(workflow: Graph, why: str) -> None:
    assert find_problems(workflow, DESCRIPTIONS) == [why]


@pytest.mark.parametrize("workflow", [own_workflow(), text_to_image()])
def test_compatible_workflows_pass(workflow: Graph) -> None:
    assert find_problems(workflow, DESCRIPTIONS) == []


def described(node: str, name: str, said: Any, **more: Any) -> dict[str, Any]:
    """The server's descriptions with one changed input."""
    descriptions = copy.deepcopy(DESCRIPTIONS)
    descriptions[node]["input"]["required"][name] = said
    return descriptions | more


def test_seeds_out_of_range_of_an_input_are_reported() -> None:
    narrow = described("KSampler", "seed", ["INT", {"min": 0, "max": 2**32 - 1}])
    assert find_problems(own_workflow(), narrow) == [
        f"{KSAMPLER}, input seed, placeholder {{seed}}: it takes seeds up to 4294967295 only, "
        "and they go up to 18446744073709551614"
    ]


def test_choices_in_the_newer_description_are_read() -> None:
    newer = described("KSampler", "sampler_name", ["COMBO", {"options": ["heun", "ddim"]}])
    assert find_problems(own_workflow(), newer) == [
        f"{KSAMPLER}, input sampler_name: the server has no 'euler', it has 'heun', 'ddim'"
    ]
    assert find_problems(with_input("5", sampler_name="{sampler}"), newer) == []
    assert find_problems(with_input("5", sampler_name=["ddim", "heun", "lms"]), newer) == []


@pytest.mark.parametrize(
    "said",
    [
        ["*"],
        ["COMFY_DYNAMICCOMBO_V3", {}],
        ["COMBO", {"remote": {}}],
        ["COMBO", {"image_upload": True}],
        [],
        None,
        5,
    ],
)
def test_malformed_descriptions_allow_anything(said: Any) -> None:
    assert find_problems(own_workflow(), described("KSampler", "sampler_name", said)) == []
    assert find_problems(own_workflow(), described("KSampler", "model", ["MODEL,LORA"])) == []


@pytest.mark.parametrize(
    "said", [None, 5, [], "x", {}, {"input": []}, {"input": {"required": 7}, "output": "x"}]
)
def test_any_description_is_parsed(said: Any) -> None:
    found = find_problems(own_workflow(), DESCRIPTIONS | {"KSampler": said})
    assert all(problem.isprintable() and len(problem) <= 300 for problem in found)


def test_control_characters_of_a_server_are_replaced() -> None:
    rude = described("KSampler", "model", ["\x1b[2J" * 999, {}])
    (problem,) = find_problems(own_workflow(), rude)
    assert problem.startswith(f"{KSAMPLER}, input model: it takes ?[2J")
    assert problem.isprintable()
    assert len(problem) == 300
