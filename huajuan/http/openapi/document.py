"""Finishes the OpenAPI document: what holds for every route is said of every route."""

import re
from collections.abc import Iterator
from typing import Any

from litestar import Request
from litestar.enums import MediaType
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Tag

from huajuan.http import messages
from huajuan.http.middleware.idempotency import KEY_CHARACTERS_MAX, REPLAYED, WRITING_METHODS
from huajuan.http.openapi.schema_details import add_details

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
ABOUT = """People register, check in for points, spend 20 of them to have a picture drawn, and look at what was drawn.

Every JSON reply carries `code`, equal to the HTTP status. An error nobody planned for is a 500 whose `request_id`
leads to its lines of the log. An unknown path is 404, a wrong method 405, and both have the same shape.

So have the replies to requests that no route gets, after which the connection is closed: 400 `{BAD_REQUEST}` is no
HTTP/1 request, 408 `{REQUEST_TIMEOUT}` does not arrive in time, 414 `{REQUEST_LINE_TOO_LONG}` has too long an address,
431 `{HEADERS_TOO_LARGE}` too many or too large headers, chunk extensions or trailers, and 503 `{BUSY}` finds all
connections in use.

Replies carry `Cache-Control: no-store` unless they say otherwise. Replies to GET are compressed for clients that send
`Accept-Encoding: gzip`, but never pictures and event streams.

A client may send an `X-Request-Id` of its own. It is recorded with every event that the request leads to, and stays
readable there after an account is erased: put nothing personal into it.
""".format_map(vars(messages))
TAGS = [
    Tag("Account", "Registering, logging in, and what is known of a user."),
    Tag("Points", "Checking in for points, and what became of them."),
    Tag("Drawing", "Having a picture drawn."),
    Tag("Images", "Lists of images, one image, and its file."),
    Tag("Likes", "Liking images."),
    Tag("Favorites", "One's favorite images."),
    Tag("Operations", "For those who run the service."),
    Tag("Admin", "For admins: the role is granted on the command line."),
]
_TEXT = {"type": "string"}
_PNG = "image/png"
_SAID = {"$ref": "#/components/schemas/Said"}
WRITING_BY_GET = frozenset({"/auth/score"})
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Any name for this request. Sent again with it, the request changes nothing more and gets the first "
    "one's reply, for a day.",
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARACTERS_MAX, "pattern": "^[!-~]+$"},
}
_KEY_REFUSALS = {
    400: messages.MALFORMED,
    409: messages.IN_PROGRESS,
    413: messages.BODY_TOO_LARGE,
    422: messages.KEY_REUSED,
}
_END_OF_SENTENCE = re.compile(r"(?<=\.)\s+")
REQUEST_ID = _TEXT | {"minLength": 1, "maxLength": 128}


def _header(description: str, schema: dict[str, Any] = _TEXT, *, always: bool = True) -> dict[str, Any]:
    return {"description": description, "required": always, "schema": schema}


_EVER = {
    "X-Request-Id": _header(
        "The caller's own id if it sent a fit one, else a new one. It stays readable in the log for good.",
        REQUEST_ID,
    )
}
_PAGED = {"Link": _header('`<…>; rel="next"`: the next page, where there is one.', always=False)}
_STILL_RUNNING = {"Retry-After": _header("Seconds, while a copy runs.", {"type": "integer"}, always=False)}
_LATER = {"Retry-After": _header("Seconds.", {"type": "integer", "minimum": 0})}
_ASKED = {
    "Location": _header("Where the job is."),
    "Preference-Applied": _header("`respond-async`."),
}
_TAGGED = {
    "ETag": _header("Strong."),
    "Cache-Control": _header("How long it may be kept."),
    "Accept-Ranges": _header("`bytes`."),
}
_AGAIN = {
    REPLAYED: _header("`true`: this is the reply that an earlier request with the key got.", always=False)
}
_RANGED = {"Content-Range": _header("Which bytes, of how many.")}


class Document(JsonRenderPlugin):
    """The document as JSON; a `limit` goes up to `rows_max`."""

    def __init__(self, path: str, rows_max: int) -> None:
        super().__init__(path=path, media_type=MediaType.JSON)
        self._rows_max = rows_max
        self._finished: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        if self._finished is None:
            self._finished = super().render(request, self._finish(openapi_schema))
        return self._finished

    def _finish(self, document: dict[str, Any]) -> dict[str, Any]:
        add_details(document)
        for method, path, operation in _operations(document):
            _summarize(operation)
            self._bound(operation)
            if method.upper() in WRITING_METHODS or path in WRITING_BY_GET:
                _take_key(operation)
            for status, reply in operation["responses"].items():
                reply["headers"] = _headers(operation, int(status))
        return document

    def _bound(self, operation: dict[str, Any]) -> None:
        for parameter in operation.get("parameters", ()):
            if parameter["name"] == "limit":
                parameter["schema"]["maximum"] = self._rows_max


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def _take_key(operation: dict[str, Any]) -> None:
    """A key may be sent, and then there are four more refusals, all in the plain envelope."""
    operation.setdefault("parameters", []).append(_KEY)
    for status, text in _KEY_REFUSALS.items():
        reply = operation["responses"].setdefault(str(status), {"description": "The plain envelope."})
        body = reply.setdefault("content", {}).setdefault("application/json", {})
        if body.get("schema", _SAID) != _SAID:
            body["schema"] = {"anyOf": [body["schema"], _SAID]}
        body.setdefault("schema", _SAID)
        example = {"summary": text, "value": {"code": status, "message": text}}
        body.setdefault("examples", {}).setdefault(f"with-a-key-{status}", example)


def _summarize(operation: dict[str, Any]) -> None:
    """The handler's own first sentence stands in the list, as plain text; what else it says stands below."""
    first, *rest = _END_OF_SENTENCE.split(operation.pop("description", operation["summary"]), maxsplit=1)
    operation["summary"] = first.removesuffix(".").replace("`", "")
    operation |= {"description": rest[0]} if rest else {}


def _headers(operation: dict[str, Any], status: int) -> dict[str, Any]:
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    takes_key = _KEY["name"] in names
    headers = _EVER | (_PAGED if status == 200 and "after" in names else {})
    headers |= _LATER if status in {429, 503} else {}
    headers |= (_AGAIN | (_STILL_RUNNING if status == 409 else {})) if takes_key else {}
    headers |= _ASKED if status == 202 else {}
    if _PNG in operation["responses"]["200"].get("content", {}) and status in {200, 206, 304, 416}:
        headers |= _TAGGED | (_RANGED if status in {206, 416} else {})
    return headers
