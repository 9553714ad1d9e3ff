"""Adds descriptions and possible values of properties to the schemas of the OpenAPI document."""

from collections.abc import Iterator
from inspect import cleandoc
from typing import Any

import msgspec

from huajuan.http.generation_status import JobProgress
from huajuan.http.openapi.descriptions import OF_PATH, description_of
from huajuan.http.openapi.enumerations import VALUES, Values

Json = dict[str, Any]


def add_details(document: Json) -> None:
    schemas: dict[str, Json] = document["components"]["schemas"]
    # The data of a frame of the event stream; it is no response body of its own.
    described = {"title": JobProgress.__name__, "description": cleandoc(str(JobProgress.__doc__))}
    schema = msgspec.json.schema(JobProgress)["$defs"][JobProgress.__name__]
    schemas[JobProgress.__name__] = schema | described
    for name, schema in schemas.items():
        _add_to(name, schema)
    for item in document["paths"].values():
        for operation in item.values():
            for schema in _bodies(operation):
                _add_to(schema["title"], schema)
            for response in operation["responses"].values():
                _add_binary(response.get("content", {}))
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    parameter.setdefault("description", OF_PATH.get(parameter["name"], ""))


def _add_binary(contents: Json) -> None:
    """Without this, generated clients read a picture as text."""
    for kind, content in contents.items():
        if kind.startswith("image/"):
            content["schema"] = {"type": "string", "format": "binary"}


def _bodies(operation: Json) -> Iterator[Json]:
    """A body is one object, or one of several."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = content["schema"]
        alternatives = schema.get("anyOf") or schema.get("oneOf") or [schema]
        yield from (alternative for alternative in alternatives if "title" in alternative)


def _add_to(struct: str, schema: Json) -> None:
    for name, part in schema.get("properties", {}).items():
        if text := description_of(struct, name):
            part.setdefault("description", text)
        _part_from_null(part)
        _move_format(part)
        if values := VALUES.get(struct, {}).get(name):
            _add_values(part, values)


def _part_from_null(part: Json) -> None:
    """An enumeration with null becomes `oneOf` an enumeration and null."""
    if None in part.get("enum", ()):
        values = [value for value in part.pop("enum") if value is not None]
        part.pop("type")
        part["oneOf"] = [{"type": "string", "enum": values}, {"type": "null"}]


def _move_format(part: Json) -> None:
    """Move a format from a nullable property to its text."""
    for text in _texts(part):
        if "format" in part and text is not part:
            text["format"] = part.pop("format")


def _add_values(part: Json, values: Values) -> None:
    for text in _texts(part):
        text["enum"] = list(values.values)
        if values.others:
            _allow_others(part, text)


def _allow_others(part: Json, text: Json) -> None:
    if text is part:
        part["anyOf"] = [{"type": part.pop("type"), "enum": part.pop("enum")}, {"type": "string"}]
    else:
        part["anyOf"] = [*part.pop("oneOf"), {"type": "string"}]


def _texts(part: Json) -> list[Json]:
    return [one for one in part.get("oneOf", [part]) if one.get("type") == "string"]
