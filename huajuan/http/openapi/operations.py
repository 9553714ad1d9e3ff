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
    Operation,
    Parameter,
    RequestBody,
)

from huajuan.http import messages
from huajuan.http.openapi.json_schemas import SHAPES, TEXT, schema_of


class Said(msgspec.Struct, kw_only=True):
    """The plain envelope."""

    code: int
    message: str


class Explained(Said, kw_only=True):
    """A refusal whose `error` says more."""

    error: str


class Detailed(Said, kw_only=True):
    """A refusal; `error` says more where there is more to say."""

    error: str | msgspec.UnsetType = msgspec.UNSET


class Tried(Said, kw_only=True):
    """A reply that also says whether it worked."""

    success: bool


class Unplanned(Said, kw_only=True):
    """Something nobody planned for; the id leads to our log."""

    request_id: str


Examples = list[dict[str, Any]]
NO_TOKEN = [{"message": t} for t in (messages.TOKEN_MISSING, messages.TOKEN_EXPIRED, messages.TOKEN_INVALID)]
NO_TOKEN_TRIED = [{"success": False, **example} for example in NO_TOKEN]
BUSY: Examples = [{"message": messages.BUSY}]
TOO_LARGE: Examples = [{"message": messages.BODY_TOO_LARGE}]


def replies(by_status: Mapping[int, tuple[type[Any], Examples]]) -> dict[int, ResponseSpec]:
    """Each status with the struct of its body and examples of what stands beside `code`."""
    return {
        status: ResponseSpec(
            data_container=kind,
            generate_examples=False,
            description=str(kind.__doc__).split("\n", 1)[0],
            examples=[_example(status, example) for example in examples],
        )
        for status, (kind, examples) in by_status.items()
    }


def _example(status: int, body: dict[str, Any]) -> Example:
    text = body.get("error") or body.get("message") or body.get("msg")
    # Litestar leaves out what is null; what is JSON already it leaves alone.
    return Example(summary=text, value=msgspec.Raw(msgspec.json.encode({"code": status, **body})))


@dataclass
class Exact(Operation):
    """Parameters of the path, without the 400 that Litestar adds although any text of ours can be one."""

    def __post_init__(self) -> None:
        if self.responses:
            self.responses.pop("400", None)
        _exact(self.parameters)


def _exact(parameters: Any) -> None:
    for parameter in parameters or ():
        if isinstance(parameter, Parameter):
            parameter.schema = schema_of(SHAPES.get(parameter.name, TEXT))


def document(**keys: Any) -> msgspec.Meta:
    """What the document says of a key of a body, without the form itself being any stricter."""
    return msgspec.Meta(extra_json_schema=keys)


def takes(
    form: type[msgspec.Struct],
    example: dict[str, Any],
    *required: str,
    any_of: tuple[str, ...] = (),
    one_of: tuple[str, ...] = (),
) -> type[Operation]:
    """The request body, a JSON object. `required` keys are read as empty when absent.

    Of `any_of` at least one key is required, of `one_of` exactly one; then there are no others.
    """
    described = msgspec.json.schema(form)["$defs"][form.__name__]
    for name in (*required, *any_of, *one_of):
        described["properties"][name].pop("default", None)
    described["required"] = [*described["required"], *required]
    if any_of or one_of:
        word = "anyOf" if any_of else "oneOf"
        described = {word: [_alternative(described, name) for name in any_of or one_of]}

    @dataclass
    class Taking(Operation):
        def __post_init__(self) -> None:
            content = OpenAPIMediaType(schema=schema_of(described), example=example)
            self.request_body = RequestBody(content={"application/json": content}, required=True)

    return Taking


def _alternative(described: dict[str, Any], name: str) -> dict[str, Any]:
    """The form with one key, which cannot be null."""
    part = described["properties"][name]
    (given,) = [one for one in part.get("anyOf", [part]) if one.get("type") != "null"]
    return described | {
        "title": f"{described['title']}By{name.capitalize()}",
        "properties": {name: given},
        "required": [name],
    }


def takes_file(name: str, text: str) -> type[Operation]:
    """The request body, a form with one file."""
    file = {"type": "string", "format": "binary", "description": text}
    described = {"type": "object", "properties": {name: file}, "required": [name]}

    @dataclass
    class TakingFile(Operation):
        def __post_init__(self) -> None:
            content = OpenAPIMediaType(schema=schema_of(described))
            self.request_body = RequestBody(content={"multipart/form-data": content}, required=True)

    return TakingFile


def named(taking: type[Operation]) -> type[Operation]:
    """What takes a body, with the parameters of its path."""

    @dataclass
    class Named(taking):  # type: ignore[misc, valid-type]
        def __post_init__(self) -> None:
            super().__post_init__()
            _exact(self.parameters)

    return Named


def asks(*required: str, **parameters: str) -> type[Operation]:
    """The query parameters, each with what it is; what it may be is told by its name."""

    @dataclass
    class Asking(Operation):
        def __post_init__(self) -> None:
            self.parameters = [
                Parameter(
                    name,
                    ParamType.QUERY.value,
                    description=text,
                    required=name in required,
                    schema=schema_of(SHAPES.get(name, TEXT)),
                )
                for name, text in parameters.items()
            ]

    return Asking


def asks_of_path(**parameters: str) -> type[Operation]:
    """The parameters of the path, and the query parameters."""

    @dataclass
    class Both(asks(**parameters)):  # type: ignore[misc]
        def __post_init__(self) -> None:
            of_path: list[Any] = list(vars(self)["parameters"] or ())
            _exact(of_path)
            super().__post_init__()
            vars(self)["parameters"][:0] = of_path

    return Both
