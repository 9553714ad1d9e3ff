"""Renders the OpenAPI document and the access of each route as `docs/api.md`."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from huajuan.http import messages

Json = dict[str, Any]
WIDTH = 118
HEAD = """# API

Generated from the route table in `huajuan/http/app.py` and the OpenAPI document; do not edit it by hand. \
A running
service shows the same document at `/schema`.
"""
COMMON = f"""## Errors of many routes

These are not repeated below. They are in the plain envelope, `code` and `message`.

- **401** of routes for users and admins: `{messages.TOKEN_MISSING}`, `{messages.TOKEN_EXPIRED}`,
  `{messages.TOKEN_INVALID}`
- **403** of routes for admins: `{messages.NOT_ADMIN}`
- **413** of routes with a body: `{messages.BODY_TOO_LARGE}`
- **503**, with `Retry-After`: `{messages.BUSY}`
- Routes that write take an `Idempotency-Key` header. A request with it may get \
**400** `{messages.MALFORMED}`,
  **409** `{messages.IN_PROGRESS}` while the first one runs, **413**, and **422** `{messages.KEY_REUSED}`.

Each route on an account, `/admin/users/{{username}}/…`, also exists as `/admin/users/id/{{id}}/…`.
"""
# Texts that `COMMON` names, by status.
_COMMON_TEXTS = {
    "401": {messages.TOKEN_MISSING, messages.TOKEN_EXPIRED, messages.TOKEN_INVALID},
    "403": {messages.NOT_ADMIN},
    "409": {messages.IN_PROGRESS},
    "413": {messages.BODY_TOO_LARGE},
    "422": {messages.KEY_REUSED},
    "503": {messages.BUSY},
}
_BY_ID = "/admin/users/id/"


def render_api(document: Json, access: Mapping[tuple[str, str], str]) -> str:
    """`access` is the access of each route, by method and path."""
    parts = [HEAD, document["info"]["description"].strip() + "\n", COMMON]
    for tag in document["tags"]:
        parts.append(f"## {tag['name']}\n\n{tag['description']}\n")
        for method, path, operation in _operations(document, tag["name"]):
            who = access[method.upper(), path]
            parts.append("\n".join(_operation(f"{method.upper()} {path}", who, operation)) + "\n")
    parts.append("## Objects\n")
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts.append("\n".join(_object(name, schema)) + "\n")
    return "\n".join(parts)


def _operations(document: Json, tag: str) -> Iterator[tuple[str, str, Json]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if operation["tags"] == [tag] and not path.startswith(_BY_ID):
                yield method, path, operation


def _operation(name: str, who: str, operation: Json) -> Iterator[str]:
    yield f"### `{name}`\n"
    text = " ".join(operation.get("description", "").split())
    yield _wrap(f"{operation['summary']}. {text}".strip())
    yield f"\nAccess: {who}.\n"
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == "Idempotency-Key":
            continue
        optional = "" if parameter.get("required") else ", optional"
        kind = f"{parameter['in']}, {_type(parameter['schema'])}{optional}"
        yield _item(f"`{parameter['name']}` ({kind}): {parameter['description']}")
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield _item(f"body, `{media_type}`: {_form(content['schema'])}")
    for status, response in sorted(operation["responses"].items()):
        if text := _response(status, response):
            yield _item(f"**{status}** {text}")


def _form(schema: Json) -> str:
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if alternatives:
        return " or ".join(map(_form, alternatives))
    required = schema.get("required", ())
    keys = (
        f"`{name}` ({_type(part)}{'' if name in required else ', optional'})"
        for name, part in schema["properties"].items()
    )
    return "{" + ", ".join(keys) + "}"


def _response(status: str, response: Json) -> str:
    """The models, and the texts of the examples that are not common ones."""
    contents = response.get("content", {})
    if not contents:
        return str(response["description"])
    models = [_type(content["schema"]) for kind, content in contents.items() if kind == "application/json"]
    models += [f"`{kind}`" for kind in contents if kind != "application/json"]
    bodies = [
        example["value"] for example in contents.get("application/json", {}).get("examples", {}).values()
    ]
    own = [body for body in bodies if body.get("message") not in _COMMON_TEXTS.get(status, ())]
    if bodies and not own:
        return ""
    return " or ".join(models) + (": " if own and _texts(own) else "") + _texts(own)


def _texts(bodies: list[Json]) -> str:
    """Each message, with the values of `error` that come with it."""
    errors: dict[str, list[str]] = {}
    for body in bodies:
        text = body.get("message") or body.get("msg") or body.get("error")
        of_text = errors.setdefault(f"`{text}`", []) if text else []
        if body.get("error") not in (None, text):
            of_text.append(f"`{body['error']}`")
    return ", ".join(
        f"{text} with {' or '.join(values)}" if values else text for text, values in errors.items()
    )


def _object(name: str, schema: Json) -> Iterator[str]:
    yield f"### {name}\n"
    if text := " ".join(schema.get("description", "").split()):
        yield _wrap(text) + "\n"
    for key, part in schema.get("properties", {}).items():
        yield _item(f"`{key}` ({_type(part)}): {part.get('description', '')}")


def _type(schema: Json) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return " or ".join(dict.fromkeys(map(_type, schema[keyword])))
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    kind = schema.get("type", "any")
    return str(kind if isinstance(kind, str) else " or ".join(kind))


def _item(text: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent="- ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _wrap(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)
