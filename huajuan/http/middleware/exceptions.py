"""Exception handlers: each error becomes a JSON response without internal details."""

from collections.abc import Mapping
from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.status_codes import HTTP_413_REQUEST_ENTITY_TOO_LARGE, HTTP_500_INTERNAL_SERVER_ERROR

from huajuan.event_store.errors import DatabaseFailure
from huajuan.http import messages
from huajuan.http.errors import BODY_TOO_LARGE, BUSY, ApiError
from huajuan.http.middleware.normalization import add_head
from huajuan.runtime.logs import REQUEST_ID
from huajuan.runtime.periodic import TooManyWaiting
from huajuan.storage.pictures import StorageUnavailable

# Set in the request's state if nothing was decided: the same request may succeed later.
IS_TRANSIENT = "is_transient"
_TRANSIENT = (DatabaseFailure, StorageUnavailable, TooManyWaiting)
_TEXT_OF_STATUS = {
    404: messages.NO_SUCH_ROUTE,
    405: messages.WRONG_METHOD,
    HTTP_413_REQUEST_ENTITY_TOO_LARGE: BODY_TOO_LARGE.body["message"],
}
_logger = structlog.get_logger(__name__)


def on_api_error(request: Request[Any, Any, Any], error: ApiError) -> Response[Any]:
    if isinstance(error.__cause__, _TRANSIENT):
        _mark_transient(request)
    # Many errors are constants: their tracebacks would grow with each raise, and keep frames alive.
    error.__traceback__ = error.__context__ = None
    return _response(error.status, error.body, error.headers)


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    if error.status_code >= HTTP_500_INTERNAL_SERVER_ERROR:
        return on_unexpected(request, error)
    message = _TEXT_OF_STATUS.get(error.status_code, messages.BAD_REQUEST)
    return _response(error.status_code, {"message": message}, add_head(request.scope["path"], error.headers))


def on_busy(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    _mark_transient(request)
    _logger.warning("refused as busy", error=type(error).__name__)
    return _response(BUSY.status, BUSY.body, BUSY.headers)


def on_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """The log has the traceback; the client gets only the id of its request."""
    _mark_transient(request)
    _logger.error("unexpected error", exc_info=error)
    return _response(500, {"message": messages.INTERNAL_ERROR, "request_id": REQUEST_ID.get()})


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    ApiError: on_api_error,
    HTTPException: on_http_exception,
    **dict.fromkeys(_TRANSIENT, on_busy),
    Exception: on_unexpected,
}


def _mark_transient(request: Request[Any, Any, Any]) -> None:
    request.scope["state"][IS_TRANSIENT] = True


def _response(
    status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response[Any]:
    return Response({"code": status, **body}, status_code=status, headers=dict(headers or {}))
