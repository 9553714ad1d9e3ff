"""Reads request bodies as JSON objects, strictly, whatever their content type says."""

from typing import Any, TypeVar

import msgspec
from litestar import Request
from litestar.exceptions import InternalServerException

from huajuan.http import messages
from huajuan.http.errors import Refusal

F = TypeVar("F", bound=msgspec.Struct)


class Unreadable(Exception):
    """The body is no JSON object that we take, or the query is none."""


def malformed(**beside: Any) -> Refusal:
    return Refusal(400, **beside, message=messages.MALFORMED)


async def read_form(request: Request[Any, Any, Any], form: type[F]) -> F:
    """The body as `form`; a key that is null counts as absent. Raises `Unreadable`."""
    given = {key: value for key, value in (await read_object(request)).items() if value is not None}
    try:
        return msgspec.convert(given, form)
    except msgspec.ValidationError:
        raise Unreadable from None


async def read_object(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """The body as a dictionary. Raises `Unreadable`."""
    try:
        read = msgspec.json.decode(await request.body())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InternalServerException):
        # The last is a client that went away in the middle of its body.
        raise Unreadable from None
    if not isinstance(read, dict) or any(_has_nul(part) for item in read.items() for part in item):
        raise Unreadable
    return read


def _has_nul(part: Any) -> bool:
    """No text of ours may hold one; what is nested deeper is read by nobody."""
    return isinstance(part, str) and "\0" in part
