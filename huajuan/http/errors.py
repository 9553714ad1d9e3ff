"""The envelope of every reply: `code` is the status, and nothing internal ever gets out."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.status_codes import HTTP_413_REQUEST_ENTITY_TOO_LARGE, HTTP_500_INTERNAL_SERVER_ERROR

from huajuan.auth.rate_limits import RateLimited
from huajuan.event_store.errors import LogError
from huajuan.http import messages
from huajuan.http.middleware.head_requests import with_head
from huajuan.http.middleware.request_id import request_id
from huajuan.runtime.threads import TooManyWaiting
from huajuan.storage.pictures import StoreAway

RETRY_AFTER_SECONDS = "1"
# Noted of a request that was not decided: sent again, it may end otherwise.
IS_PASSING = "is_passing"
_logger = structlog.get_logger(__name__)
_OF_STATUS = {
    404: messages.NO_SUCH_ROUTE,
    405: messages.WRONG_METHOD,
    HTTP_413_REQUEST_ENTITY_TOO_LARGE: messages.BODY_TOO_LARGE,
}


class Refusal(Exception):
    """A reply that is not a success: `body` is what stands beside `code`."""

    def __init__(self, status: int, headers: Mapping[str, str] | None = None, /, **body: Any) -> None:
        super().__init__(status, body)
        self.status = status
        self.headers = dict(headers or {})
        self.body = body


Answers = Mapping[type[Exception], Refusal]


@contextmanager
def answering(answers: Answers) -> Iterator[None]:
    """What is raised inside is answered as its class, or the nearest class above it, says."""
    try:
        yield
    except tuple(answers) as error:
        answer = next(answers[kind] for kind in type(error).__mro__ if kind in answers)
        raise Refusal(answer.status, answer.headers, **answer.body) from error


def on_refusal(request: Request[Any, Any, Any], refusal: Refusal) -> Response[Any]:
    if isinstance(refusal.__cause__, LogError | StoreAway | TooManyWaiting):
        _note_passing(request)
    return _reply(refusal.status, refusal.body, refusal.headers)


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    if error.status_code >= HTTP_500_INTERNAL_SERVER_ERROR:
        return on_exception(request, error)
    message = _OF_STATUS.get(error.status_code, messages.BAD_REQUEST)
    return _reply(error.status_code, {"message": message}, with_head(request.scope["path"], error.headers))


def on_busy(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    _note_passing(request)
    _logger.warning("refused as busy", error=type(error).__name__)
    return _reply(503, {"message": messages.BUSY}, {"Retry-After": RETRY_AFTER_SECONDS})


def on_rate_limited(_: Request[Any, Any, Any], limited: RateLimited) -> Response[Any]:
    seconds = str(limited.retry_after_seconds)
    return _reply(429, {"message": messages.TOO_MANY_FAILURES}, {"Retry-After": seconds})


def on_exception(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Unplanned: the log knows what happened, the client gets the id to ask about."""
    _note_passing(request)
    _logger.error("unplanned", exc_info=error)
    return _reply(500, {"message": messages.UNPLANNED, "request_id": request_id()})


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    Refusal: on_refusal,
    HTTPException: on_http_exception,
    LogError: on_busy,
    TooManyWaiting: on_busy,
    RateLimited: on_rate_limited,
    StoreAway: on_busy,
    Exception: on_exception,
}


def _note_passing(request: Request[Any, Any, Any]) -> None:
    request.scope["state"][IS_PASSING] = True


def _reply(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response[Any]:
    return Response({"code": status, **body}, status_code=status, headers=dict(headers or {}))
