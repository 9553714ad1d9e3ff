"""Node types of a server, parsed from its untrusted descriptions in /object_info."""

from typing import Any

import msgspec

ANY = "*"
CHOICE = "COMBO"
# The types of inputs that depend on the values of other inputs begin with this.
DYNAMIC = "COMFY_"
CHOICES_SHOWN_MAX = 5
STEP_MAX = 1024
CHARACTERS_SHOWN_MAX = 60


class NodeInput(msgspec.Struct, frozen=True):
    """An input: its types, separated by commas; the known choices of a list; and bounds of a number."""

    type: str
    choices: list[Any] | None = None
    least: float | None = None
    most: float | None = None
    step: int = 1
    is_upload: bool = False

    @property
    def is_dynamic(self) -> bool:
        return self.type.startswith(DYNAMIC)

    def takes(self, output: str) -> bool:
        given, wanted = set(output.split(",")), set(self.type.split(","))
        return (
            self.is_dynamic
            or output.startswith(DYNAMIC)
            or bool({ANY, CHOICE} & (given | wanted) or given & wanted)
        )

    def problem(self, value: Any) -> str:
        """Why the input does not take the value; "" if it does."""
        if self.type == CHOICE:
            return self._not_a_choice(value)
        if self.type in {"INT", "FLOAT"}:
            return self._no_number(value)
        if self.type in {ANY, "STRING", "BOOLEAN"} or self.is_dynamic or not self.type.isupper():
            return ""
        # Such a type takes links only, but the types of some node packs are plain values.
        return (
            ""
            if isinstance(value, dict | list)
            else f"it takes a link to {self.type}, and is {_quoted(value)}"
        )

    def _not_a_choice(self, value: Any) -> str:
        # Only the server can check several choices at once, which are a list or an object.
        if self.choices is None or isinstance(value, list | dict) or value in self.choices:
            return ""
        if self.is_upload:
            return (
                "" if _is_elsewhere(value) else f"the server has no file {_quoted(value)} in its input folder"
            )
        some = ", ".join(_quoted(choice) for choice in self.choices[:CHOICES_SHOWN_MAX])
        more = ", …" if len(self.choices) > CHOICES_SHOWN_MAX else ""
        return f"the server has no {_quoted(value)}, it has {some or 'none at all'}{more}"

    def _no_number(self, value: Any) -> str:
        try:
            number = float(value) if self.type == "FLOAT" else int(value)
        except (TypeError, ValueError, OverflowError):
            return f"it takes a number ({self.type}), and is {_quoted(value)}"
        if self.least is not None and number < self.least:
            return f"it is {_quoted(value)}, less than {self.least:g}"
        if self.most is not None and number > self.most:
            return f"it is {_quoted(value)}, more than {self.most:g}"
        return ""


class NodeType(msgspec.Struct, frozen=True):
    """Inputs by name, the required ones, the types of the outputs, and whether it saves its result.

    An open type takes inputs that it does not describe.
    """

    inputs: dict[str, NodeInput]
    required: list[str]
    outputs: list[str]
    is_output: bool

    @property
    def is_open(self) -> bool:
        return any(node_input.is_dynamic for node_input in self.inputs.values())


def parse_node_type(described: Any) -> NodeType:
    """Parse a description of any type. Where it is malformed, anything is allowed."""
    described = described if isinstance(described, dict) else {}
    inputs = _mapping(described.get("input"))
    required, optional = _mapping(inputs.get("required")), _mapping(inputs.get("optional"))
    outputs = described.get("output")
    return NodeType(
        inputs={str(name): _node_input(one) for name, one in {**optional, **required}.items()},
        required=[str(name) for name in required],
        outputs=[_type(one) for one in outputs] if isinstance(outputs, list) else [],
        is_output=described.get("output_node") is True,
    )


def _node_input(described: Any) -> NodeInput:
    kind, *more = described if isinstance(described, list) and described else [ANY]
    config = _mapping(more[0] if more else None)
    choices = kind if isinstance(kind, list) else config.get("options")
    return NodeInput(
        type=_type(kind),
        choices=choices if isinstance(choices, list) else None,
        least=_number(config.get("min")),
        most=_number(config.get("max")),
        step=_step(config.get("step")),
        is_upload=any(str(name).endswith("_upload") for name in config),
    )


def _type(described: Any) -> str:
    return CHOICE if isinstance(described, list) else str(described)


def _number(described: Any) -> float | None:
    return described if isinstance(described, int | float) and not isinstance(described, bool) else None


def _step(described: Any) -> int:
    """A step that is no whole number, or larger than any picture, counts as 1."""
    step = _number(described)
    return int(step) if step is not None and 1 <= step <= STEP_MAX and step == int(step) else 1


def _is_elsewhere(value: Any) -> bool:
    """Files in folders and in other slots than the input folder are not listed."""
    return not isinstance(value, str) or "/" in value or "\\" in value or value.endswith("]")


def _mapping(described: Any) -> dict[Any, Any]:
    return described if isinstance(described, dict) else {}


def _quoted(value: Any) -> str:
    return repr(value)[:CHARACTERS_SHOWN_MAX]
