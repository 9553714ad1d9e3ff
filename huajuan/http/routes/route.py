"""A row of the route table, and how a Litestar handler is made from it."""

import inspect
from collections.abc import Iterator
from dataclasses import fields, replace
from enum import Enum
from typing import Any, NamedTuple, cast

from litestar import Request
from litestar import route as litestar_route
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.types import Method

from huajuan.event_store.store import EventStore, account_registered_at
from huajuan.http import messages
from huajuan.http.errors import UNKNOWN_USER, ApiError, mapped_errors
from huajuan.http.middleware.guards import TOKEN_ERROR, Guard, require_admin, require_token, run_guards
from huajuan.http.middleware.idempotency import WRITES, WRITING_METHODS, claim_key
from huajuan.http.openapi.document import SCHEME
from huajuan.http.openapi.operations import RouteHandler
from huajuan.http.request import whole_number
from huajuan.http.services import Services
from huajuan.http.uploads import SPOOLED

_BY_NAME = "/admin/users/{username}/"
# `/admin/users/id/{id}/…` names an account by its integer id, because some names do not fit into a path.
_ID = "id"
_BY_ID = f"/admin/users/{_ID}/{{id}}/"
_NAMED_ID = f"/admin/users/{_ID}/"
_ENCODED_SLASH = b"%2f"
_SERVICES = frozenset(field.name for field in fields(Services))
_CLAIMS, _REQUEST, _USERNAME = "claims", "request", "username"


class Access(Enum):
    """The callers that a route admits; an admin is also a user."""

    PUBLIC = "public"
    USER = "user"
    ADMIN = "admin"


class Route(NamedTuple):
    """A row of the route table; `methods` are separated by spaces."""

    methods: str
    path: str
    handler: RouteHandler
    access: Access


def with_account_ids(routes: tuple[Route, ...]) -> Iterator[Route]:
    """All routes, and a variant by account id for each route on an account by name."""
    for each in routes:
        yield each
        if each.path.startswith(_BY_NAME):
            by_id = replace(each.handler, fn=_resolving_id(each.handler.fn))
            yield each._replace(path=each.path.replace(_BY_NAME, _BY_ID), handler=by_id)


def litestar_handlers(routes: tuple[Route, ...]) -> list[HTTPRouteHandler]:
    """A Litestar handler for each route.

    An account with the name `id` needs routes of its own: the router would take its name for the prefix.
    """
    handlers = [each.handler for each in routes]
    found = [
        _litestar_handler(each, _operation_id(each, is_shared=handlers.count(each.handler) > 1))
        for each in with_account_ids(routes)
    ]
    for each in routes:
        if each.path.startswith(_BY_NAME):
            named_id = replace(each.handler, fn=_with_username(each.handler.fn))
            path = each.path.replace(_BY_NAME, _NAMED_ID)
            found.append(_litestar_handler(each._replace(path=path, handler=named_id), in_schema=False))
    return found


def _litestar_handler(
    row: Route, operation_id: str | None = None, *, in_schema: bool = True
) -> HTTPRouteHandler:
    handler, spec = row.handler, row.handler.spec
    needs_token, needs_admin = row.access is not Access.PUBLIC, row.access is Access.ADMIN
    options: dict[str, Any] = {
        "operation_id": operation_id,
        "before_request": run_guards(*_guards(row)) if _guards(row) else None,
        "security": [{SCHEME: []}] if needs_token else None,
        "media_type": spec.media_type,
    }
    if spec.body and spec.body.bytes_max:
        options["request_max_body_size"] = spec.body.bytes_max
    return litestar_route(
        row.path.replace("}", ":str}"),
        http_method=cast("list[Method]", row.methods.split()),
        status_code=200,
        tags=[spec.tag],
        include_in_schema=in_schema,
        operation_class=handler.operation_class(),
        responses=handler.responses(needs_token=needs_token, needs_admin=needs_admin),
        opt=_handler_options(handler),
        **{name: value for name, value in options.items() if value is not None},
    )(_endpoint(handler))


def _handler_options(handler: RouteHandler) -> dict[str, Any]:
    spec = handler.spec
    is_upload = spec.body is not None and spec.body.bytes_max is not None
    return {TOKEN_ERROR: spec.token_error, WRITES: spec.is_writing_get, SPOOLED: is_upload}


def _guards(row: Route) -> list[Guard]:
    guards: list[Guard] = [require_token] if row.access is not Access.PUBLIC else []
    if row.access is Access.ADMIN:
        guards.append(require_admin)
    if row.handler.spec.is_writing_get or WRITING_METHODS & {*row.methods.split()}:
        guards.append(claim_key)
    return guards


def _operation_id(row: Route, *, is_shared: bool) -> str | None:
    """`None` lets Litestar derive it from path and method, where one handler serves several operations."""
    if is_shared or " " in row.methods:
        return None
    return row.handler.operation_id + ("ById" if row.path.startswith(_BY_ID) else "")


def _endpoint(handler: RouteHandler) -> Any:
    """The function that Litestar calls. It passes the services that the handler declares, by name.

    Litestar's own injection would start a task for each dependency.
    """
    fn, errors = handler.fn, handler.errors
    signature = inspect.signature(fn)
    services = [name for name in signature.parameters if name in _SERVICES]
    takes_claims, takes_request = _CLAIMS in signature.parameters, _REQUEST in signature.parameters

    async def endpoint(request: Request[Any, Any, Any], **path: Any) -> Any:
        container: Services = request.app.state.services
        for name in services:
            path[name] = getattr(container, name)
        if takes_claims:
            path[_CLAIMS] = request.scope["state"][_CLAIMS]
        if takes_request:
            path[_REQUEST] = request
        with mapped_errors(errors):
            return await fn(**path)

    hints = {name: one.annotation for name, one in signature.parameters.items()}
    path_hints = {name: hint for name, hint in hints.items() if name not in {*services, _CLAIMS, _REQUEST}}
    return _with_signature(endpoint, fn, {_REQUEST: Request[Any, Any, Any], **path_hints})


def _resolving_id(fn: Any) -> Any:
    takes_request, takes_store = (name in inspect.signature(fn).parameters for name in (_REQUEST, "store"))

    async def by_id(
        request: Request[Any, Any, Any],
        store: EventStore,
        id: str,  # noqa: A002
        **given: Any,
    ) -> Any:
        given |= {_REQUEST: request} if takes_request else {}
        given |= {"store": store} if takes_store else {}
        return await fn(**given, username=await _name_of(request, store, id))

    more = {_ID: FromPath[str], _REQUEST: Request[Any, Any, Any], "store": EventStore}
    return _with_signature(by_id, fn, _hints_without_username(fn) | more, name=fn.__name__)


def _with_username(fn: Any) -> Any:
    async def named_id(**given: Any) -> Any:
        return await fn(**given, username=_ID)

    return _with_signature(named_id, fn, _hints_without_username(fn), name=fn.__name__)


def _hints_without_username(fn: Any) -> dict[str, Any]:
    parameters = inspect.signature(fn).parameters
    return {name: one.annotation for name, one in parameters.items() if name != _USERNAME}


def _with_signature(wrapper: Any, fn: Any, hints: dict[str, Any], name: str = "") -> Any:
    """Give `wrapper` these parameters and the return type, name and docstring of `fn`."""
    parameters = [
        inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, annotation=hint) for n, hint in hints.items()
    ]
    signature = inspect.signature(fn)
    wrapper.__signature__ = signature.replace(parameters=parameters)
    wrapper.__annotations__ = hints | {"return": signature.return_annotation}
    wrapper.__module__, wrapper.__doc__ = fn.__module__, fn.__doc__
    wrapper.__name__ = wrapper.__qualname__ = name or fn.__name__
    return wrapper


async def _name_of(request: Request[Any, Any, Any], store: EventStore, number: str) -> str:
    """The account's username, or its id in the log if erased. Raises `ApiError` if there is no account."""
    if _ENCODED_SLASH in request.scope["raw_path"].lower():
        # A username with a slash, decoded before routing: it does not name an account by its id.
        raise ApiError(404, message=messages.NO_SUCH_ROUTE)
    try:
        found = await account_registered_at(store, whole_number(number))
    except ValueError:
        raise UNKNOWN_USER from None
    if found is None:
        raise UNKNOWN_USER
    return found.username or str(found.id)
