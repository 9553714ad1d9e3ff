"""The kinds of node the painter knows, in the terms of ComfyUI's own descriptions."""

from typing import Any

import msgspec

CHECKPOINT = "demo-painter (no model).safetensors"
SIZE_MAX = 2048
BATCH_MAX = 8

SAMPLERS = [
    *("euler", "euler_ancestral", "heun", "dpm_2", "dpm_2_ancestral", "lms", "dpmpp_2m", "dpmpp_sde"),
    *("ddpm", "lcm", "ipndm", "ipndm_v", "deis", "uni_pc", "ddim"),
]
SCHEDULERS = [
    *("simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal"),
    *("linear_quadratic", "kl_optimal"),
]


class Input(msgspec.Struct, frozen=True):
    """One input: a type's name, or the list of allowed values, and its bounds."""

    kind: str | list[str]
    least: float | None = None
    most: float | None = None

    def description(self) -> list[Any]:
        bounds = {"min": self.least, "max": self.most}
        return [self.kind, {name: bound for name, bound in bounds.items() if bound is not None}]


class NodeKind(msgspec.Struct, frozen=True):
    """One class of node: inputs by name, types of what it returns, whether its result is kept."""

    inputs: dict[str, Input]
    returns: list[str]
    is_output: bool = False

    def description(self, name: str) -> dict[str, Any]:
        return {
            "input": {"required": {key: value.description() for key, value in self.inputs.items()}},
            "input_order": {"required": list(self.inputs)},
            "output": self.returns,
            "output_is_list": [False] * len(self.returns),
            "output_name": self.returns,
            "name": name,
            "display_name": name,
            "description": "demo painter, no model",
            "python_module": "nodes",
            "category": "demo",
            "output_node": self.is_output,
        }


def _integer(least: float, most: float) -> Input:
    return Input("INT", least, most)


NODES: dict[str, NodeKind] = {
    "CheckpointLoaderSimple": NodeKind({"ckpt_name": Input([CHECKPOINT])}, ["MODEL", "CLIP", "VAE"]),
    "CLIPTextEncode": NodeKind({"text": Input("STRING"), "clip": Input("CLIP")}, ["CONDITIONING"]),
    "EmptyLatentImage": NodeKind(
        {
            "width": _integer(16, SIZE_MAX),
            "height": _integer(16, SIZE_MAX),
            "batch_size": _integer(1, BATCH_MAX),
        },
        ["LATENT"],
    ),
    "KSampler": NodeKind(
        {
            "model": Input("MODEL"),
            "positive": Input("CONDITIONING"),
            "negative": Input("CONDITIONING"),
            "latent_image": Input("LATENT"),
            "seed": _integer(0, 2**64 - 1),
            "steps": _integer(1, 10000),
            "cfg": Input("FLOAT", 0, 100),
            "sampler_name": Input(SAMPLERS),
            "scheduler": Input(SCHEDULERS),
            "denoise": Input("FLOAT", 0, 1),
        },
        ["LATENT"],
    ),
    "VAEDecode": NodeKind({"samples": Input("LATENT"), "vae": Input("VAE")}, ["IMAGE"]),
    "EmptyImage": NodeKind(
        {
            "width": _integer(1, SIZE_MAX),
            "height": _integer(1, SIZE_MAX),
            "batch_size": _integer(1, BATCH_MAX),
            "color": _integer(0, 0xFFFFFF),
        },
        ["IMAGE"],
    ),
    "ImageCrop": NodeKind(
        {
            "image": Input("IMAGE"),
            "width": _integer(1, SIZE_MAX),
            "height": _integer(1, SIZE_MAX),
            "x": _integer(0, SIZE_MAX),
            "y": _integer(0, SIZE_MAX),
        },
        ["IMAGE"],
    ),
    "SaveImage": NodeKind({"images": Input("IMAGE"), "filename_prefix": Input("STRING")}, [], is_output=True),
    "PreviewImage": NodeKind({"images": Input("IMAGE")}, [], is_output=True),
}
