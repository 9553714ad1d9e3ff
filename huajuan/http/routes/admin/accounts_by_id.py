"""Gives each admin route on an account a second form, that names the account by its id: a name may not fit a path."""

import inspect
from collections.abc import Iterable, Iterator
from copy import copy
from typing import Any

from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from huajuan.event_store.registrations import account_registered_at
from huajuan.http import messages
from huajuan.http.errors import Refusal
from huajuan.http.query_params import whole_number
from huajuan.http.routes.admin.as_of import UNKNOWN
from huajuan.http.services import AtDesk, Desk

_BY_NAME = "/admin/users/{username:str}/"
_WORD = "id"
_BY_ID = f"/admin/users/{_WORD}/{{id:str}}/"
_OF_WORD = f"/admin/users/{_WORD}/"
_ENCODED_SLASH = b"%2f"


def with_ids(handlers: Iterable[HTTPRouteHandler]) -> Iterator[HTTPRouteHandler]:
    """Each handler, and those on an account also by its id. Each of these takes the account's `username`.

    The account whose name is `id` has routes of its own, for the router would take its name for the word.
    """
    for handler in handlers:
        yield handler
        paths = [path for path in handler.paths if path.startswith(_BY_NAME)]
        for acts in [path.removeprefix(_BY_NAME) for path in paths]:
            yield _variant(
                handler, _BY_ID + acts, _by_id(handler.fn), operation_id=f"{handler.operation_id}ById"
            )
            yield _variant(handler, _OF_WORD + acts, _named_by_word(handler.fn), include_in_schema=False)


def _variant(handler: HTTPRouteHandler, path: str, fn: Any, **changes: Any) -> HTTPRouteHandler:
    variant = copy(handler)
    variant.paths = {path}
    for name, value in changes.items():
        setattr(variant, name, value)
    return variant(fn)


def _by_id(fn: Any) -> Any:
    taken = inspect.signature(fn).parameters

    async def by_id(**given: Any) -> Any:
        given["username"] = await _name_of(given["request"], given[_WORD], given["desk"])
        return await fn(**{name: given[name] for name in taken})

    more = {_WORD: FromPath[str], "request": Request[Any, Any, Any], "desk": AtDesk}
    return _signed(by_id, fn, more)


def _named_by_word(fn: Any) -> Any:
    async def named_by_word(**given: Any) -> Any:
        return await fn(**given, username=_WORD)

    return _signed(named_by_word, fn, {})


def _signed(wrapper: Any, fn: Any, more: dict[str, Any]) -> Any:
    """The framework reads from the signature what a handler takes: what `fn` takes and `more`, but no username."""
    signature = inspect.signature(fn)
    hints = {name: one.annotation for name, one in signature.parameters.items()} | more
    del hints["username"]
    parameters = [
        inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, annotation=h) for n, h in hints.items()
    ]
    wrapper.__signature__ = signature.replace(parameters=parameters)
    wrapper.__annotations__ = hints | {"return": signature.return_annotation}
    wrapper.__module__, wrapper.__doc__ = fn.__module__, fn.__doc__
    wrapper.__name__, wrapper.__qualname__ = (f"{fn.__name__}_{wrapper.__name__}",) * 2
    return wrapper


async def _name_of(request: Request[Any, Any, Any], number: str, desk: Desk) -> str:
    """The account's username, or its id in the log where the person is erased. Raises `Refusal` for nobody."""
    if _ENCODED_SLASH in request.scope["raw_path"].lower():
        # A slash of a name, decoded before the routes are looked at: it names no account by its id.
        raise Refusal(404, message=messages.NO_SUCH_ROUTE)
    try:
        found = await account_registered_at(desk.store, whole_number(number))
    except ValueError:
        raise UNKNOWN from None
    if found is None:
        raise UNKNOWN
    return found.username or str(found.id)
