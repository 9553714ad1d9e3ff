"""The supported node types, described as in ComfyUI."""

from typing import Any

import msgspec

# These names are recorded in events, so they do not change.
CHECKPOINT = "demo-painter (no model).safetensors"
DIFFUSION_MODEL = "demo-painter diffusion (no model).safetensors"
TEXT_ENCODER = "demo-painter text encoder (no model).safetensors"
VAE = "demo-painter vae (no model).safetensors"
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
    """An input: a type or allowed values, bounds, and the folder whose files are the allowed values."""

    kind: str | list[str]
    least: float | None = None
    most: float | None = None
    step: int | None = None
    folder: str = ""

    def description(self) -> list[Any]:
        bounds = {"min": self.least, "max": self.most, "step": self.step}
        return [self.kind, {name: bound for name, bound in bounds.items() if bound is not None}]


class NodeKind(msgspec.Struct, frozen=True):
    """A node type: inputs by name, output types, and whether its result is saved."""

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
            "description": "demo ComfyUI, no model",
            "python_module": "nodes",
            "category": "demo",
            "output_node": self.is_output,
        }


def _integer(least: float, most: float, step: int | None = None) -> Input:
    return Input("INT", least, most, step)


def _file_of(folder: str) -> Input:
    return Input([], folder=folder)


NODES: dict[str, NodeKind] = {
    "CheckpointLoaderSimple": NodeKind({"ckpt_name": _file_of("checkpoints")}, ["MODEL", "CLIP", "VAE"]),
    "UNETLoader": NodeKind(
        {"unet_name": _file_of("diffusion_models"), "weight_dtype": Input(["default"])}, ["MODEL"]
    ),
    "CLIPLoader": NodeKind({"clip_name": _file_of("text_encoders"), "type": Input(["flux2"])}, ["CLIP"]),
    "VAELoader": NodeKind({"vae_name": _file_of("vae")}, ["VAE"]),
    "CLIPTextEncode": NodeKind({"text": Input("STRING"), "clip": Input("CLIP")}, ["CONDITIONING"]),
    "EmptyLatentImage": NodeKind(
        {
            "width": _integer(16, SIZE_MAX, 8),
            "height": _integer(16, SIZE_MAX, 8),
            "batch_size": _integer(1, BATCH_MAX),
        },
        ["LATENT"],
    ),
    "EmptyFlux2LatentImage": NodeKind(
        {
            "width": _integer(16, SIZE_MAX, 16),
            "height": _integer(16, SIZE_MAX, 16),
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


class ModelFiles:
    """The model files by folder. With `is_newer` lists are described as by newer servers."""

    def __init__(self) -> None:
        self.is_newer = False
        self.folders = {
            "checkpoints": [CHECKPOINT],
            "diffusion_models": [DIFFUSION_MODEL],
            "text_encoders": [TEXT_ENCODER],
            "vae": [VAE],
        }

    def kind(self, name: str) -> NodeKind:
        """The node type with the present files."""
        kind = NODES[name]
        inputs = {key: self._filled(value) for key, value in kind.inputs.items()}
        return msgspec.structs.replace(kind, inputs=inputs)

    def description(self, name: str) -> dict[str, Any]:
        described = self.kind(name).description(name)
        if self.is_newer:
            inputs = described["input"]["required"]
            inputs |= {
                key: ["COMBO", {"options": kind}]
                for key, (kind, _) in inputs.items()
                if isinstance(kind, list)
            }
        return described

    def _filled(self, one: Input) -> Input:
        return msgspec.structs.replace(one, kind=list(self.folders[one.folder])) if one.folder else one
