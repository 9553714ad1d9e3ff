"""Errors on the wire: `ApiError`, the error table of a route, and the errors that many routes share."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from huajuan.domain.refusals import ReasonMissing, ReasonTooLong, ReasonUnprintable
from huajuan.domain.rules import REASON_CHARACTERS_MAX
from huajuan.http import messages

RETRY_AFTER_SECONDS = "1"


class ApiError(Exception):
    """An error response. `body` is the JSON body without `code`, which is the status."""

    def __init__(self, status: int, headers: Mapping[str, str] | None = None, /, **body: Any) -> None:
        super().__init__(status, body)
        self.status = status
        self.headers = dict(headers or {})
        self.body = body

    def replace(self, **body: Any) -> "ApiError":
        """The same error with other values in its body."""
        return ApiError(self.status, self.headers, **self.body | body)


class UnreadableBody(Exception):
    """The body is not the JSON object that the route expects, or the query cannot be read."""


ErrorTable = Mapping[type[Exception], ApiError]


@contextmanager
def mapped_errors(table: ErrorTable) -> Iterator[None]:
    """Raise an exception of the table, or of a subclass, as its `ApiError`.

    An exception with `retry_after_seconds` sets the `Retry-After` header.
    """
    try:
        yield
    except tuple(table) as error:
        mapped = next(table[kind] for kind in type(error).__mro__ if kind in table)
        headers = dict(mapped.headers)
        if (seconds := getattr(error, "retry_after_seconds", None)) is not None:
            headers["Retry-After"] = str(seconds)
        raise ApiError(mapped.status, headers, **mapped.body) from error


def result_error(status: int, text: str, headers: Mapping[str, str] | None = None) -> ApiError:
    """An error of a route whose responses carry `success`."""
    return ApiError(status, headers, success=False, message=text)


def invalid_parameter(name: str) -> ApiError:
    """A query parameter has a value that the route does not accept."""
    return ApiError(400, message=messages.QUERY_INVALID, error=name)


def token_error(text: str) -> ApiError:
    return ApiError(401, message=text)


TOKEN_TEXTS = (messages.TOKEN_MISSING, messages.TOKEN_EXPIRED, messages.TOKEN_INVALID)
MALFORMED = ApiError(400, message=messages.MALFORMED)
FORBIDDEN = ApiError(403, message=messages.NOT_ADMIN)
UNKNOWN_USER = ApiError(404, message=messages.USER_UNKNOWN)
BODY_TOO_LARGE = ApiError(413, message=messages.BODY_TOO_LARGE)
RATE_LIMITED = ApiError(429, message=messages.TOO_MANY_FAILURES)
BUSY = ApiError(503, {"Retry-After": RETRY_AFTER_SECONDS}, message=messages.BUSY)
REASON_ERRORS: ErrorTable = {
    ReasonMissing: ApiError(400, message=messages.REASON_MISSING),
    ReasonTooLong: ApiError(
        400,
        message=messages.REASON_TOO_LONG,
        error=messages.REASON_TOO_LONG_BECAUSE.format(most=REASON_CHARACTERS_MAX),
    ),
    ReasonUnprintable: ApiError(
        400, message=messages.REASON_UNPRINTABLE, error=messages.REASON_UNPRINTABLE_BECAUSE
    ),
}
