"""Kinds of node as a server describes them in /object_info, read from whatever it says."""

from typing import Any

import msgspec

ANY = "*"
CHOICE = "COMBO"
# Inputs that come and go with what the others say: the server's own names for them all begin so.
DYNAMIC = "COMFY_"
CHOICES_TOLD_MAX = 5
STEP_MAX = 1024
CHARACTERS_TOLD_MAX = 60


class Port(msgspec.Struct, frozen=True):
    """An input: its type, several separated by commas, the choices of a list where known, and bounds."""

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

    def misfit(self, value: Any) -> str:
        """Why a value cannot stand here, or nothing."""
        if self.type == CHOICE:
            return self._not_a_choice(value)
        if self.type in {"INT", "FLOAT"}:
            return self._no_number(value)
        if self.type in {ANY, "STRING", "BOOLEAN"} or self.is_dynamic or not self.type.isupper():
            return ""
        # A type of which no value can be written down, but some packs' own types are plain values.
        return (
            "" if isinstance(value, dict | list) else f"it takes a link to {self.type}, and is {_told(value)}"
        )

    def _not_a_choice(self, value: Any) -> str:
        # Several choices at once are a list or an object, which only the server can judge.
        if self.choices is None or isinstance(value, list | dict) or value in self.choices:
            return ""
        if self.is_upload:
            return (
                "" if _is_elsewhere(value) else f"the server has no file {_told(value)} in its input folder"
            )
        some = ", ".join(_told(choice) for choice in self.choices[:CHOICES_TOLD_MAX])
        more = ", …" if len(self.choices) > CHOICES_TOLD_MAX else ""
        return f"the server has no {_told(value)}, it has {some or 'none at all'}{more}"

    def _no_number(self, value: Any) -> str:
        try:
            number = float(value) if self.type == "FLOAT" else int(value)
        except (TypeError, ValueError, OverflowError):
            return f"it takes a number ({self.type}), and is {_told(value)}"
        if self.least is not None and number < self.least:
            return f"it is {_told(value)}, less than {self.least:g}"
        if self.most is not None and number > self.most:
            return f"it is {_told(value)}, more than {self.most:g}"
        return ""


class Kind(msgspec.Struct, frozen=True):
    """Inputs by name, which of them are required, the types of the outputs, whether it keeps its result.

    An open kind takes inputs that it does not name.
    """

    ports: dict[str, Port]
    required: list[str]
    outputs: list[str]
    is_output: bool

    @property
    def is_open(self) -> bool:
        return any(port.is_dynamic for port in self.ports.values())


def kind_of(said: Any) -> Kind:
    """A server's description of one kind; what it says unclearly is taken to allow anything."""
    said = said if isinstance(said, dict) else {}
    inputs = _mapping(said.get("input"))
    required, optional = _mapping(inputs.get("required")), _mapping(inputs.get("optional"))
    outputs = said.get("output")
    return Kind(
        ports={str(name): _port(one) for name, one in {**optional, **required}.items()},
        required=[str(name) for name in required],
        outputs=[_type(one) for one in outputs] if isinstance(outputs, list) else [],
        is_output=said.get("output_node") is True,
    )


def _port(said: Any) -> Port:
    kind, *more = said if isinstance(said, list) and said else [ANY]
    config = _mapping(more[0] if more else None)
    choices = kind if isinstance(kind, list) else config.get("options")
    return Port(
        type=_type(kind),
        choices=choices if isinstance(choices, list) else None,
        least=_number(config.get("min")),
        most=_number(config.get("max")),
        step=_step(config.get("step")),
        is_upload=any(str(name).endswith("_upload") for name in config),
    )


def _type(said: Any) -> str:
    return CHOICE if isinstance(said, list) else str(said)


def _number(said: Any) -> float | None:
    return said if isinstance(said, int | float) and not isinstance(said, bool) else None


def _step(said: Any) -> int:
    """In whole numbers; one that is none, or beyond all sizes of pictures, counts as 1."""
    step = _number(said)
    return int(step) if step is not None and 1 <= step <= STEP_MAX and step == int(step) else 1


def _is_elsewhere(value: Any) -> bool:
    """Files in folders and in other places than the input folder are not listed."""
    return not isinstance(value, str) or "/" in value or "\\" in value or value.endswith("]")


def _mapping(said: Any) -> dict[Any, Any]:
    return said if isinstance(said, dict) else {}


def _told(value: Any) -> str:
    return repr(value)[:CHARACTERS_TOLD_MAX]
