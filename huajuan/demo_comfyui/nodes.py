"""The supported node types, described as in ComfyUI, and the validation of a graph before it is queued."""

from typing import Any

import msgspec

# These names are recorded in events, so they do not change.
CHECKPOINT = "demo-painter (no model).safetensors"
DIFFUSION_MODEL = "demo-painter diffusion (no model).safetensors"
TEXT_ENCODER = "demo-painter text encoder (no model).safetensors"
VAE = "demo-painter vae (no model).safetensors"
SIZE_MAX = 2048
SEED_MAX = 2**64 - 1
OPTIONS_LISTED_MAX = 20
SAMPLERS = [
    *("euler", "euler_ancestral", "heun", "dpm_2", "dpm_2_ancestral", "lms", "dpmpp_2m", "dpmpp_sde"),
    *("ddpm", "lcm", "ipndm", "ipndm_v", "deis", "uni_pc", "ddim"),
]
SCHEDULERS = [
    *("simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal"),
    *("linear_quadratic", "kl_optimal"),
]
NUMBERS = {"INT": int, "FLOAT": float}
INVALID = "prompt_outputs_failed_validation", "Prompt outputs failed validation"
Graph = dict[str, Any]
Error = dict[str, Any]


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


def _file_of(folder: str) -> Input:
    return Input([], folder=folder)


def _pictures(least: int, step: int | None = None) -> dict[str, Input]:
    sides = {side: Input("INT", least, SIZE_MAX, step) for side in ("width", "height")}
    return sides | {"batch_size": Input("INT", 1, 8)}


NODES: dict[str, NodeKind] = {
    "CheckpointLoaderSimple": NodeKind({"ckpt_name": _file_of("checkpoints")}, ["MODEL", "CLIP", "VAE"]),
    "UNETLoader": NodeKind(
        {"unet_name": _file_of("diffusion_models"), "weight_dtype": Input(["default"])}, ["MODEL"]
    ),
    "CLIPLoader": NodeKind({"clip_name": _file_of("text_encoders"), "type": Input(["flux2"])}, ["CLIP"]),
    "VAELoader": NodeKind({"vae_name": _file_of("vae")}, ["VAE"]),
    "CLIPTextEncode": NodeKind({"text": Input("STRING"), "clip": Input("CLIP")}, ["CONDITIONING"]),
    "EmptyLatentImage": NodeKind(_pictures(16, 8), ["LATENT"]),
    "EmptyFlux2LatentImage": NodeKind(_pictures(16, 16), ["LATENT"]),
    "KSampler": NodeKind(
        {
            "model": Input("MODEL"),
            "positive": Input("CONDITIONING"),
            "negative": Input("CONDITIONING"),
            "latent_image": Input("LATENT"),
            "seed": Input("INT", 0, SEED_MAX),
            "steps": Input("INT", 1, 10000),
            "cfg": Input("FLOAT", 0, 100),
            "sampler_name": Input(SAMPLERS),
            "scheduler": Input(SCHEDULERS),
            "denoise": Input("FLOAT", 0, 1),
        },
        ["LATENT"],
    ),
    "VAEDecode": NodeKind({"samples": Input("LATENT"), "vae": Input("VAE")}, ["IMAGE"]),
    "EmptyImage": NodeKind(_pictures(1) | {"color": Input("INT", 0, 0xFFFFFF)}, ["IMAGE"]),
    "ImageCrop": NodeKind(
        {"image": Input("IMAGE")}
        | {side: Input("INT", 1, SIZE_MAX) for side in ("width", "height")}
        | {start: Input("INT", 0, SIZE_MAX) for start in ("x", "y")},
        ["IMAGE"],
    ),
    "SaveImage": NodeKind({"images": Input("IMAGE"), "filename_prefix": Input("STRING")}, [], is_output=True),
    "PreviewImage": NodeKind({"images": Input("IMAGE")}, [], is_output=True),
}


class ModelFiles:
    """The model files by folder. With `is_newer` lists are described as by newer servers."""

    def __init__(self) -> None:
        self.is_newer = False
        self.folders = {"checkpoints": [CHECKPOINT], "diffusion_models": [DIFFUSION_MODEL]}
        self.folders |= {"text_encoders": [TEXT_ENCODER], "vae": [VAE]}

    def kind(self, name: str) -> NodeKind:
        """The node type with the present files."""
        kind = NODES[name]
        inputs = {key: self._filled(value) for key, value in kind.inputs.items()}
        return msgspec.structs.replace(kind, inputs=inputs)

    def description(self, name: str) -> dict[str, Any]:
        described = self.kind(name).description(name)
        if self.is_newer:
            inputs = described["input"]["required"]
            lists = {key: kind for key, (kind, _) in inputs.items() if isinstance(kind, list)}
            inputs |= {key: ["COMBO", {"options": options}] for key, options in lists.items()}
        return described

    def _filled(self, one: Input) -> Input:
        return msgspec.structs.replace(one, kind=list(self.folders[one.folder])) if one.folder else one


class GraphRefused(Exception):
    """The graph is rejected. `body` is the JSON of the response."""

    def __init__(self, error: Error, node_errors: dict[str, Any] | None = None) -> None:
        super().__init__(error["type"])
        self.body = {"error": error, "node_errors": node_errors or {}}


def error(kind: str, message: str, details: str = "", extra: dict[str, Any] | None = None) -> Error:
    return {"type": kind, "message": message, "details": details, "extra_info": extra or {}}


def missing_node(node: str, name: str, *, is_old: bool) -> Error:
    """The error for an unknown node type, as before or since version 0.12."""
    kind = "invalid_prompt" if is_old else "missing_node_type"
    extra = {} if is_old else {"node_id": node, "class_type": name, "node_title": name}
    return error(kind, f"Cannot execute because node {name} does not exist.", f"Node ID '#{node}'", extra)


def validated(graph: Any, model_files: ModelFiles, *, is_old: bool) -> tuple[list[str], dict[str, Any]]:
    """The valid output nodes, and the errors of the others. Raises `GraphRefused` if none is valid."""
    graph = graph if isinstance(graph, dict) else {}
    for node, content in graph.items():
        name = str(content.get("class_type", "")) if isinstance(content, dict) else ""
        if name not in NODES:
            raise GraphRefused(missing_node(node, name, is_old=is_old))
    outputs = [node for node, content in graph.items() if NODES[content["class_type"]].is_output]
    if not outputs:
        raise GraphRefused(error("prompt_no_outputs", "Prompt has no outputs"))
    check = _Check(graph, model_files)
    valid = [node for node in outputs if check.is_valid(node, node)]
    if not valid:
        raise GraphRefused(error(*INVALID), check.node_errors())
    return valid, check.node_errors()


def linked(value: Any) -> bool:
    """Whether an input's value is a link to another node's output."""
    return isinstance(value, list)


class _Check:
    def __init__(self, graph: Graph, model_files: ModelFiles) -> None:
        self._graph = graph
        self._stock = model_files
        self._errors: dict[str, list[Error]] = {}
        self._dependents: dict[str, set[str]] = {}
        self._path: list[str] = []
        self._known: dict[tuple[str, str], bool] = {}

    def is_valid(self, node: str, output: str) -> bool:
        """Whether a node and its upstream nodes are valid. Errors are stored by node."""
        if node in self._path:
            return self._store(node, output, [error("dependency_cycle", "Dependency cycle detected")])
        if (node, output) not in self._known:
            self._known[node, output] = self._validate(node, output)
        return self._known[node, output]

    def node_errors(self) -> dict[str, Any]:
        return {
            node: {
                "errors": errors,
                "dependent_outputs": sorted(self._dependents[node]),
                "class_type": self._graph[node]["class_type"],
            }
            for node, errors in self._errors.items()
        }

    def _validate(self, node: str, output: str) -> bool:
        self._path.append(node)
        kinds = self._stock.kind(self._graph[node]["class_type"]).inputs
        found = [self._input_errors(node, name, kind, output) for name, kind in kinds.items()]
        self._path.pop()
        return (
            self._store(node, output, [each for errors in found for each in errors or ()])
            and None not in found
        )

    def _store(self, node: str, output: str, errors: list[Error]) -> bool:
        if errors:
            self._errors.setdefault(node, errors)
            self._dependents.setdefault(node, set()).add(output)
        return not errors

    def _input_errors(self, node: str, name: str, kind: Input, output: str) -> list[Error] | None:
        """The errors of the input; `None` if only the linked node is invalid."""
        inputs = self._graph[node].get("inputs", {})
        if name not in inputs:
            return [error("required_input_missing", "Required input is missing", name, {"input_name": name})]
        value = inputs[name]
        problem = self._link_problem(kind, value) if linked(value) else _value_problem(name, kind, value)
        if problem:
            extra = {"input_name": name, "input_config": kind.description(), "received_value": value}
            return [error(problem[0], problem[1], problem[2] if len(problem) > 2 else name, extra)]
        return [] if not linked(value) or self.is_valid(str(value[0]), output) else None

    def _link_problem(self, kind: Input, link: list[Any]) -> tuple[str, ...]:
        if len(link) != 2 or not isinstance(link[1], int):
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return "bad_linked_input", message
        if (source := self._graph.get(str(link[0]))) is None:
            return "exception_during_inner_validation", "Exception when validating node"
        returns = NODES[source["class_type"]].returns
        if link[1] >= len(returns) or returns[link[1]] != kind.kind:
            return "return_type_mismatch", "Return type mismatch between linked nodes"
        return ()


def _value_problem(name: str, kind: Input, value: Any) -> tuple[str, ...]:
    """Type and message of the error, and its details if they are not the name; empty if there is none."""
    if isinstance(kind.kind, list):
        return () if value in kind.kind else _not_in_list(name, kind.kind, value)
    if (convert := NUMBERS.get(kind.kind)) is not None:
        return _number_problem(kind, value, convert)
    if kind.kind == "STRING" and isinstance(value, str):
        return ()
    return "invalid_input_type", f"Failed to convert to {kind.kind}"


def _not_in_list(name: str, allowed: list[str], value: Any) -> tuple[str, ...]:
    options = allowed if len(allowed) <= OPTIONS_LISTED_MAX else f"(list of length {len(allowed)})"
    return "value_not_in_list", "Value not in list", f"{name}: {value!r} not in {options}"


def _number_problem(kind: Input, value: Any, convert: type[int] | type[float]) -> tuple[str, ...]:
    try:
        number = convert(value)
    except (TypeError, ValueError, OverflowError):
        return "invalid_input_type", f"Failed to convert an input value to a {kind.kind} value"
    if kind.least is not None and number < kind.least:
        return "value_smaller_than_min", f"Value {number} smaller than min of {kind.least}"
    if kind.most is not None and number > kind.most:
        return "value_bigger_than_max", f"Value {number} bigger than max of {kind.most}"
    return ()
