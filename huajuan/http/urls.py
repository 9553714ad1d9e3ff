"""Our own URLs: picture addresses, and the `Link` and `Location` headers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from huajuan.domain.rules import OWN_PATH
from huajuan.net.urls import ascii_address, base_of, is_plain, origin_of, unquoted_path

if TYPE_CHECKING:
    from litestar import Request

# Some clients split a `Link` header at every comma and semicolon, so nothing else stays unquoted.
_PATH_SAFE = "/"


def next_page(
    request: "Request[Any, Any, Any]", public_address: str, given: Mapping[str, str], after: str
) -> dict[str, str]:
    """The `Link` header to the next page. `given` are the query parameters of this page."""
    query = urlencode({**given, "after": after}, quote_via=quote, safe="")
    path = quote(request.scope["path"], safe=_PATH_SAFE)
    return {"Link": f'<{ascii_address(public_address)}{path}?{query}>; rel="next"'}


def location(public_address: str, path: str) -> dict[str, str]:
    """The `Location` header of one of our paths: no host, below the path of the public address."""
    return {"Location": public_path(public_address) + quote(path, safe=_PATH_SAFE)}


def public_path(public_address: str) -> str:
    """The path of the public address, percent-encoded, without a slash at its end; empty if it has none."""
    path = urlsplit(ascii_address(public_address)).path.strip("/")
    return f"/{path}" if path else ""


def own_path(address: str, bases: Sequence[str]) -> str | None:
    """`/images/…` or `/avatars/…` if this is the URL of a picture at one of `bases`, or such a path alone.

    Query, fragment and the spelling of host, port and path do not matter.
    """
    if not is_plain(address):
        return None
    try:
        parts = urlsplit(address)
        origin = origin_of(parts)
    except ValueError:
        return None
    path = unquoted_path(parts)
    normal = [base for base in map(base_of, bases) if base]
    if parts.scheme or parts.netloc:
        prefixes = [base.path for base in normal if base.origin == origin]
    else:
        prefixes = ["", *(base.path for base in normal)]
    found = (path.removeprefix(prefix) for prefix in prefixes if path.startswith(prefix))
    return next((one for one in found if OWN_PATH.fullmatch(one)), None)


def current_url(address: str, bases: Sequence[str]) -> str:
    """The present URL of one of our pictures (`bases[0]` is the present base); any other URL is unchanged."""
    path = own_path(address, bases) if address and bases else None
    return f"{bases[0]}{path}" if path else address
