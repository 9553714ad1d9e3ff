"""Completes the OpenAPI document: descriptions, headers and idempotency keys of all operations."""

import re
from collections.abc import Iterator
from typing import Any

from litestar import Request
from litestar.enums import MediaType
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Tag

from huajuan.http import messages
from huajuan.http.middleware.idempotency import KEY_CHARACTERS_MAX, REPLAYED, WRITING_METHODS
from huajuan.http.middleware.normalization import WRITING_GETS
from huajuan.http.openapi.responses import MessageResponse
from huajuan.http.openapi.schemas import add_details

SCHEME = "token"
COMPONENTS = Components(
    security_schemes={
        SCHEME: SecurityScheme(
            type="apiKey",
            name="Authorization",
            security_scheme_in="header",
            description="The token that `POST /login` gave, as it is; `Bearer <token>` works too.",
        )
    }
)
ABOUT = """\
People register, check in for points, spend 20 of them to have a picture drawn, and look at what was drawn.

Every JSON response carries `code`, equal to the HTTP status. An unexpected error is a 500 whose `request_id`
leads to its lines of the log. An unknown path is 404, a wrong method 405, and both have the same shape.

Some requests do not reach a route. The response has the same shape, and the connection is closed:
400 `{BAD_REQUEST}` for a request that is not HTTP/1, 408 `{REQUEST_TIMEOUT}` for one that arrives too slowly,
414 `{REQUEST_LINE_TOO_LONG}` for too long a URL, \
431 `{HEADERS_TOO_LARGE}` for too many or too large headers, chunk
extensions or trailers, and 503 `{BUSY}` if all connections are in use.

Responses carry `Cache-Control: no-store` unless documented otherwise. \
Responses to GET are compressed for clients that
send `Accept-Encoding: gzip`, except pictures and event streams.

A client may send an `X-Request-Id` of its own. \
It is recorded with every event that the request leads to, and stays
readable there after an account is erased: put nothing personal into it.
""".format_map(vars(messages))
TAGS = [
    Tag("Account", "Registration, login, and account data."),
    Tag("Points", "Checking in for points, the balance and its history."),
    Tag("Drawing", "Drawing pictures, and the jobs that draw them."),
    Tag("Images", "Lists of images, one image, and its file."),
    Tag("Likes", "Liking images."),
    Tag("Favorites", "One's favorite images."),
    Tag("Operations", "Health, readiness and metrics."),
    Tag("Admin", "For admins: the role is granted on the command line."),
]
_TEXT = {"type": "string"}
_PNG = "image/png"
_PLAIN = {"$ref": f"#/components/schemas/{MessageResponse.__name__}"}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Any name for this request. Sent again with it, the request changes nothing more and gets "
    "the first one's reply, for a day.",
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARACTERS_MAX, "pattern": "^[!-~]+$"},
}
_KEY_ERRORS = {
    400: messages.MALFORMED,
    409: messages.IN_PROGRESS,
    413: messages.BODY_TOO_LARGE,
    422: messages.KEY_REUSED,
}
_END_OF_SENTENCE = re.compile(r"(?<=\.)\s+")
REQUEST_ID = _TEXT | {"minLength": 1, "maxLength": 128}


def _header(description: str, schema: dict[str, Any] = _TEXT, *, always: bool = True) -> dict[str, Any]:
    return {"description": description, "required": always, "schema": schema}


_ALWAYS = {
    "X-Request-Id": _header(
        "The caller's own id if it sent a fit one, else a new one. It stays readable in the log for good.",
        REQUEST_ID,
    )
}
_PAGE_HEADERS = {"Link": _header('`<…>; rel="next"`: the next page, where there is one.', always=False)}
_IN_PROGRESS_HEADERS = {
    "Retry-After": _header("Seconds, while a copy runs.", {"type": "integer"}, always=False)
}
_RETRY_HEADERS = {"Retry-After": _header("Seconds.", {"type": "integer", "minimum": 0})}
_ACCEPTED_HEADERS = {
    "Location": _header("Where the job is."),
    "Preference-Applied": _header("`respond-async`."),
}
_PICTURE_HEADERS = {
    "ETag": _header("Strong."),
    "Cache-Control": _header("How long it may be kept."),
    "Accept-Ranges": _header("`bytes`."),
}
_REPLAYED_HEADERS = {
    REPLAYED: _header("`true`: this is the response that an earlier request with the key got.", always=False)
}
_RANGE_HEADERS = {"Content-Range": _header("Which bytes, of how many.")}


class OpenApiDocument(JsonRenderPlugin):
    """The document as JSON; `limit` parameters are at most `rows_max`."""

    def __init__(self, path: str, rows_max: int) -> None:
        super().__init__(path=path, media_type=MediaType.JSON)
        self._rows_max = rows_max
        self._rendered: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        if self._rendered is None:
            self._rendered = super().render(request, self._complete(openapi_schema))
        return self._rendered

    def _complete(self, document: dict[str, Any]) -> dict[str, Any]:
        add_details(document)
        for method, path, operation in _operations(document):
            _summarize(operation)
            self._set_maximum(operation)
            if method.upper() in WRITING_METHODS or path in WRITING_GETS:
                _add_key(operation)
            for status, response in operation["responses"].items():
                response["headers"] = _headers(operation, int(status))
        return document

    def _set_maximum(self, operation: dict[str, Any]) -> None:
        for parameter in operation.get("parameters", ()):
            if parameter["name"] == "limit":
                parameter["schema"]["maximum"] = self._rows_max


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def _add_key(operation: dict[str, Any]) -> None:
    """Add the header and the four errors that a key may cause, in the plain envelope."""
    operation.setdefault("parameters", []).append(_KEY)
    for status, text in _KEY_ERRORS.items():
        response = operation["responses"].setdefault(str(status), {"description": "The plain envelope."})
        body = response.setdefault("content", {}).setdefault("application/json", {})
        if body.get("schema", _PLAIN) != _PLAIN:
            body["schema"] = {"anyOf": [body["schema"], _PLAIN]}
        body.setdefault("schema", _PLAIN)
        example = {"summary": text, "value": {"code": status, "message": text}}
        body.setdefault("examples", {}).setdefault(f"with-a-key-{status}", example)


def _summarize(operation: dict[str, Any]) -> None:
    """The first sentence of the docstring is the summary, in plain text; the rest is the description."""
    first, *rest = _END_OF_SENTENCE.split(operation.pop("description", operation["summary"]), maxsplit=1)
    operation["summary"] = first.removesuffix(".").replace("`", "")
    operation |= {"description": rest[0]} if rest else {}


def _headers(operation: dict[str, Any], status: int) -> dict[str, Any]:
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    takes_key = _KEY["name"] in names
    headers = _ALWAYS | (_PAGE_HEADERS if status == 200 and "after" in names else {})
    headers |= _RETRY_HEADERS if status in {429, 503} else {}
    headers |= (_REPLAYED_HEADERS | (_IN_PROGRESS_HEADERS if status == 409 else {})) if takes_key else {}
    headers |= _ACCEPTED_HEADERS if status == 202 else {}
    if _PNG in operation["responses"]["200"].get("content", {}) and status in {200, 206, 304, 416}:
        headers |= _PICTURE_HEADERS | (_RANGE_HEADERS if status in {206, 416} else {})
    return headers
