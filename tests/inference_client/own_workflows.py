"""Custom workflows: exported from the editor, with placeholders added."""

import copy
from typing import Any

from huajuan.demo_comfyui.nodes import NODES, ModelFiles
from huajuan.inference_client.placeholders import Graph

DESCRIPTIONS: dict[str, Any] = {name: ModelFiles().description(name) for name in NODES}
LATENT = {
    "class_type": "EmptyLatentImage",
    "inputs": {"width": "{width}", "height": "{height}", "batch_size": 1},
}
SAMPLER = {
    "class_type": "KSampler",
    "inputs": {
        "model": ["1", 0],
        "positive": ["2", 0],
        "negative": ["3", 0],
        "latent_image": ["4", 0],
        "seed": "{seed}",
        "steps": 4,
        "cfg": 7,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 1,
    },
}


def own_workflow() -> Graph:
    """It has no placeholders for cropping, steps or sampler."""
    return copy.deepcopy(
        {
            "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "{checkpoint}"}},
            "2": {
                "class_type": "CLIPTextEncode",
                "inputs": {"text": "ink, {prompt}", "clip": ["1", 1]},
                "_meta": {"title": "What is {wanted}"},
            },
            "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["1", 1]}},
            "4": LATENT,
            "5": SAMPLER,
            "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
            "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "{prefix}"}},
        }
    )


def with_input(node: str, **changes: Any) -> Graph:
    """The workflow with changed inputs; those that are `None` are removed."""
    workflow = own_workflow()
    inputs: dict[str, Any] = workflow[node]["inputs"]
    inputs |= changes
    workflow[node]["inputs"] = {name: value for name, value in inputs.items() if value is not None}
    return workflow
