"""Declares an operation of the API beside its handler: what it takes, what it returns, and its error table.

Only what cannot be computed is declared. The summary is the docstring, the operation id the name of the
handler, and most responses follow from the error table, the body and the access of the route.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

import msgspec
from litestar import Response
from litestar.enums import ParamType
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, Parameter, RequestBody

from huajuan.http.content_negotiation import CSV, csv_line
from huajuan.http.errors import (
    BODY_TOO_LARGE,
    BUSY,
    FORBIDDEN,
    MALFORMED,
    REASON_ERRORS,
    TOKEN_TEXTS,
    ApiError,
    ErrorTable,
    UnreadableBody,
    invalid_parameter,
    token_error,
)
from huajuan.http.openapi.responses import Body, Documented, documented_errors, response_specs
from huajuan.http.openapi.schemas import PARAMETER_SCHEMAS, TEXT, schema_of

HandlerFunction = Callable[..., Awaitable[Any]]
PAGE_PARAMETERS = {"limit": "how many at most", "after": "where the `Link` of the page before leads"}
LIST_PARAMETERS = {
    "sort": "`time` (default), `likes`, `user`, `width`, `height`, `steps` or `sampling_method`",
    "order": "`asc` (default) or `desc`",
    "username": "only this user's",
    "prompt": "only those whose prompt holds this, in any case and width",
    "width": "only this width",
    "height": "only this height",
    "steps": "only these steps",
    "sampling_method": "only this method",
    "start_time": "a date, or a moment such as 2024-11-21T23:31:25Z; inclusive",
    "end_time": "the same; a date is the whole day",
    "limit": "how many at most",
    "after": (
        "where the `Link` of the page before leads. A cursor names the last row seen: what is sorted by time "
        "is listed once and only once; when likes change while one pages by likes, an image may move across "
        "the cursor and be seen twice or not at all"
    ),
}
FORMAT = (
    "`json` (default); `csv`, as `Accept: text/csv` asks for too; or `csv-excel`, the same with a byte order "
    "mark, without which Excel does not read it as UTF-8"
)


@dataclass(frozen=True)
class RequestBodySpec:
    """A request body: its schema by media type, and the errors that reading it may cause."""

    content: dict[str, OpenAPIMediaType]
    errors: ErrorTable
    bytes_max: int | None = None


@dataclass(frozen=True, kw_only=True)
class OperationSpec:
    """The declaration of an operation.

    `errors` maps domain errors to responses, `raises` are errors that the handler raises itself. `examples`
    are bodies of the 200 response. `success` names models that the return type does not, `responses` are not
    JSON, and `content` holds other media types of the 200 response. An operation with `is_probe` has no
    common 503.
    """

    tag: str
    examples: list[Body] = field(default_factory=list)
    body: RequestBodySpec | None = None
    parameters: list[Parameter] = field(default_factory=list)
    errors: ErrorTable = field(default_factory=dict)
    raises: tuple[ApiError, ...] = ()
    token_error: Callable[[str], ApiError] = token_error
    success: Mapping[int, Documented] = field(default_factory=dict)
    responses: Mapping[int, ResponseSpec] = field(default_factory=dict)
    content: Mapping[str, OpenAPIMediaType] = field(default_factory=dict)
    media_type: str | None = None
    is_writing_get: bool = False
    is_probe: bool = False


@dataclass(frozen=True)
class RouteHandler:
    """A handler function with the declaration of its operation."""

    fn: HandlerFunction
    spec: OperationSpec

    @property
    def operation_id(self) -> str:
        """`list_images` is `ListImages`."""
        return "".join(word.capitalize() for word in self.fn.__name__.split("_"))

    @property
    def errors(self) -> ErrorTable:
        """The error table, with the errors of reading the body."""
        return {**(self.spec.body.errors if self.spec.body else {}), **self.spec.errors}

    def responses(self, *, needs_token: bool, needs_admin: bool) -> dict[int, ResponseSpec]:
        """All responses by status."""
        model = _model_of(self.fn)
        success = dict(self.spec.success)
        if model and self.spec.examples:
            success[200] = (model, self.spec.examples)
        errors = documented_errors(self._all_errors(needs_token, needs_admin), *([model] if model else []))
        specs = {**response_specs({**errors, **success}), **self.spec.responses}
        return dict(sorted(specs.items()))

    def _all_errors(self, needs_token: bool, needs_admin: bool) -> Iterator[ApiError]:
        spec = self.spec
        if needs_token:
            yield from map(spec.token_error, TOKEN_TEXTS)
        if needs_admin:
            yield FORBIDDEN
        if spec.body:
            yield BODY_TOO_LARGE
        if not spec.is_probe:
            yield BUSY
        yield from self.errors.values()
        yield from spec.raises

    def operation_class(self) -> type[Operation]:
        """Litestar's operation with our parameters and body."""
        spec, errors = self.spec, [*self.errors.values(), *self.spec.raises]
        has_bad_request = any(error.status == 400 for error in errors)

        @dataclass
        class Described(Operation):
            def __post_init__(self) -> None:
                # Litestar adds a 400 for path parameters, although any text is accepted here.
                if self.responses and not has_bad_request:
                    self.responses.pop("400", None)
                self.parameters = [*_path_parameters(self.parameters), *spec.parameters] or None
                if spec.body:
                    self.request_body = RequestBody(content=spec.body.content, required=True)
                if spec.content:
                    success: Any = (self.responses or {})["200"]
                    success.content |= spec.content

        return Described


def operation(tag: str, **declared: Any) -> Callable[[HandlerFunction], RouteHandler]:
    """Declare the operation of a handler, with the fields of `OperationSpec`."""

    def decorate(fn: HandlerFunction) -> RouteHandler:
        return RouteHandler(fn, OperationSpec(tag=tag, **declared))

    return decorate


def json_body(
    form: type[msgspec.Struct],
    example: Body,
    *required: str,
    any_of: tuple[str, ...] = (),
    one_of: tuple[str, ...] = (),
) -> RequestBodySpec:
    """A JSON object. `required` keys are read as empty if absent.

    At least one key of `any_of`, or exactly one of `one_of`, is required; then there are no others.
    """
    schema = msgspec.json.schema(form)["$defs"][form.__name__]
    for name in (*required, *any_of, *one_of):
        schema["properties"][name].pop("default", None)
    schema["required"] = [*schema["required"], *required]
    errors: dict[type[Exception], ApiError] = {UnreadableBody: MALFORMED}
    if "reason" in schema["properties"]:
        errors |= REASON_ERRORS
    if any_of or one_of:
        keyword = "anyOf" if any_of else "oneOf"
        schema = {keyword: [_alternative(schema, name) for name in any_of or one_of]}
    content = {"application/json": OpenAPIMediaType(schema=schema_of(schema), example=example)}
    return RequestBodySpec(content, errors)


def file_body(name: str, description: str, bytes_max: int) -> RequestBodySpec:
    """A multipart form with one file."""
    file = {"type": "string", "format": "binary", "description": description}
    schema = {"type": "object", "properties": {name: file}, "required": [name]}
    return RequestBodySpec({"multipart/form-data": OpenAPIMediaType(schema=schema_of(schema))}, {}, bytes_max)


def query_params(*required: str, **descriptions: str) -> list[Parameter]:
    """Query parameters with their descriptions; the schema follows from the name."""
    return [
        _parameter(name, text, ParamType.QUERY, is_required=name in required)
        for name, text in descriptions.items()
    ]


def header_param(name: str, description: str, schema: Mapping[str, Any] = TEXT) -> Parameter:
    return _parameter(name, description, ParamType.HEADER, schema)


def invalid_parameters(*names: str) -> tuple[ApiError, ...]:
    """The errors of query parameters with invalid values."""
    return tuple(map(invalid_parameter, names))


def _parameter(
    name: str,
    description: str,
    place: ParamType,
    schema: Mapping[str, Any] | None = None,
    *,
    is_required: bool = False,
) -> Parameter:
    described = schema_of(schema or PARAMETER_SCHEMAS.get(name, TEXT))
    return Parameter(name, place.value, description=description, required=is_required, schema=described)


def _path_parameters(found: Any) -> Iterator[Parameter]:
    for parameter in found or ():
        if isinstance(parameter, Parameter):
            parameter.schema = schema_of(PARAMETER_SCHEMAS.get(parameter.name, TEXT))
            yield parameter


def _alternative(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """The form with one key, which cannot be null."""
    part = schema["properties"][name]
    (given,) = [one for one in part.get("anyOf", [part]) if one.get("type") != "null"]
    return schema | {
        "title": f"{schema['title']}By{name.capitalize()}",
        "properties": {name: given},
        "required": [name],
    }


def _model_of(fn: HandlerFunction) -> type[msgspec.Struct] | None:
    """The struct that a handler returns, alone or in a `Response`."""
    returned = inspect.signature(fn).return_annotation
    if get_origin(returned) is Response:
        (returned,) = get_args(returned)
    is_struct = isinstance(returned, type) and issubclass(returned, msgspec.Struct)
    return returned if is_struct else None


def csv_content(row: Body) -> dict[str, OpenAPIMediaType]:
    """The 200 response as CSV; `row` is an example of a row."""
    example = csv_line(row) + csv_line(row.values())
    return {CSV: OpenAPIMediaType(schema=schema_of({"type": "string"}), example=example)}
