"""Says in the OpenAPI document what a route takes and every reply it can give, each with an example."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.enums import ParamType
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    Example,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    Parameter,
    RequestBody,
    Schema,
)

from huajuan.http import phrases


class Said(msgspec.Struct, kw_only=True):
    """The plain envelope."""

    code: int
    message: str


class Explained(Said, kw_only=True):
    """A refusal whose `error` says more."""

    error: str


class Tried(Said, kw_only=True):
    """A reply that also says whether it worked."""

    success: bool


class Unplanned(Said, kw_only=True):
    """Something nobody planned for; the id leads to our log."""

    request_id: str


Examples = list[dict[str, Any]]
NO_TOKEN = [{"message": t} for t in (phrases.TOKEN_MISSING, phrases.TOKEN_EXPIRED, phrases.TOKEN_INVALID)]
NO_TOKEN_TRIED = [{"success": False, **example} for example in NO_TOKEN]
BUSY: Examples = [{"message": phrases.BUSY}]
TOO_LARGE: Examples = [{"message": phrases.BODY_TOO_LARGE}]


def replies(by_status: Mapping[int, tuple[type[Any], Examples]]) -> dict[int, ResponseSpec]:
    """Each status with the struct of its body and examples of what stands beside `code`."""
    return {
        status: ResponseSpec(
            data_container=kind,
            generate_examples=False,
            description=str(kind.__doc__).split("\n", 1)[0],
            examples=[Example(value={"code": status, **example}) for example in examples],
        )
        for status, (kind, examples) in by_status.items()
    }


@dataclass
class Exact(Operation):
    """Without the 400 that Litestar adds for any parameter, where no text of ours can fail to be one."""

    def __post_init__(self) -> None:
        if self.responses:
            self.responses.pop("400", None)


def takes(form: type[msgspec.Struct], example: dict[str, Any]) -> type[Operation]:
    """The request body, a JSON object."""
    properties = msgspec.json.schema(form)["$defs"][form.__name__]

    @dataclass
    class Taking(Operation):
        def __post_init__(self) -> None:
            content = OpenAPIMediaType(schema=_schema(properties), example=example)
            self.request_body = RequestBody(content={"application/json": content}, required=True)

    return Taking


def asks(**parameters: str) -> type[Operation]:
    """The query parameters, each with what it is."""

    @dataclass
    class Asking(Operation):
        def __post_init__(self) -> None:
            self.parameters = [
                Parameter(
                    name, ParamType.QUERY.value, description=text, schema=Schema(type=OpenAPIType.STRING)
                )
                for name, text in parameters.items()
            ]

    return Asking


_KEYS = {
    "minLength": "min_length",
    "maxLength": "max_length",
    "anyOf": "any_of",
    "default": "default",
    "minimum": "minimum",
    "maximum": "maximum",
    "enum": "enum",
    "required": "required",
    "description": "description",
}


def _schema(described: dict[str, Any]) -> Schema:
    """msgspec's JSON schema as Litestar's."""
    known = {_KEYS[key]: value for key, value in described.items() if key in _KEYS}
    known |= {"any_of": [_schema(part) for part in described["anyOf"]]} if "anyOf" in described else {}
    if "properties" in described:
        known["properties"] = {name: _schema(part) for name, part in described["properties"].items()}
    return Schema(type=described.get("type"), **known)
