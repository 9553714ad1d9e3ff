"""The responses of an operation in the OpenAPI document, computed from its success, errors and access."""

from collections.abc import Iterable, Mapping
from inspect import cleandoc
from typing import Any

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example

from huajuan.http.errors import ApiError

Body = dict[str, Any]
# The model and the examples of a status.
Documented = tuple[type[msgspec.Struct], list[Body]]


class MessageResponse(msgspec.Struct, kw_only=True):
    """The plain envelope."""

    code: int
    message: str


class ErrorResponse(MessageResponse, kw_only=True):
    """An error with details in `error`."""

    error: str


class OptionalErrorResponse(MessageResponse, kw_only=True):
    """An error; `error` has details if there are any."""

    error: str | msgspec.UnsetType = msgspec.UNSET


class ResultResponse(MessageResponse, kw_only=True):
    """A response with the result in `success`."""

    success: bool


class OptionalResultResponse(MessageResponse, kw_only=True):
    """Nothing was done; `success` is absent if the whole service is busy."""

    success: bool | msgspec.UnsetType = msgspec.UNSET


class UnexpectedErrorResponse(MessageResponse, kw_only=True):
    """An unexpected error; the id leads to our log."""

    request_id: str


class ErrorOnlyResponse(msgspec.Struct, kw_only=True):
    """An error with its text in `error`."""

    code: int
    error: str


_ERROR_MODELS: tuple[type[msgspec.Struct], ...] = (
    *(MessageResponse, ErrorResponse, OptionalErrorResponse, ResultResponse, OptionalResultResponse),
    *(UnexpectedErrorResponse, ErrorOnlyResponse),
)


def documented_errors(errors: Iterable[ApiError], *models: type[msgspec.Struct]) -> dict[int, Documented]:
    """The errors by status. `models` are preferred to the general error models."""
    bodies: dict[int, list[Body]] = {}
    for error in errors:
        of_status = bodies.setdefault(error.status, [])
        if error.body not in of_status:
            of_status.append(error.body)
    return {status: (_model_of(found, models), found) for status, found in bodies.items()}


def response_specs(by_status: Mapping[int, Documented]) -> dict[int, ResponseSpec]:
    """Litestar's form of the responses. Examples are bodies without `code`."""
    return {
        status: ResponseSpec(
            data_container=model,
            generate_examples=False,
            description=_first_paragraph(model),
            examples=[_example(status, body) for body in bodies],
        )
        for status, (model, bodies) in by_status.items()
    }


def _first_paragraph(model: type[msgspec.Struct]) -> str:
    return " ".join(cleandoc(str(model.__doc__)).split("\n\n", 1)[0].split())


def _model_of(bodies: list[Body], models: tuple[type[msgspec.Struct], ...]) -> type[msgspec.Struct]:
    """The model whose required and optional keys are those of the bodies. Raises `LookupError`."""
    keys = [frozenset(body) for body in bodies]
    required = frozenset.intersection(*keys)
    optional = frozenset.union(*keys) - required
    for model in (*models, *_ERROR_MODELS):
        if _keys_of(model) == (required, optional):
            return model
    raise LookupError(f"no error model has the keys {required} and optionally {optional}")


def _keys_of(model: type[msgspec.Struct]) -> tuple[frozenset[str], frozenset[str]]:
    fields = [field for field in msgspec.structs.fields(model) if field.name != "code"]
    required = frozenset(field.name for field in fields if field.required)
    return required, frozenset(field.name for field in fields) - required


def _example(status: int, body: Body) -> Example:
    text = body.get("error") or body.get("message") or body.get("msg")
    # Litestar drops null values from an example, but not from raw JSON.
    return Example(summary=text, value=msgspec.Raw(msgspec.json.encode({"code": status, **body})))
