"""URLs for the headers `Link` and `Location`: percent-encoded ASCII, whatever a path or a query holds."""

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, urlencode, urlsplit, urlunsplit

if TYPE_CHECKING:  # the settings need addresses, and no framework
    from litestar import Request

# Only these stay as they are: some clients split a `Link` at every comma and semicolon.
_PATH_SAFE = "/"
# An address in the settings may be percent-encoded already.
_ADDRESS_SAFE = "/%:@!$&'()*+,;=~"


def next_page(
    request: "Request[Any, Any, Any]", public_address: str, given: Mapping[str, str], after: str
) -> dict[str, str]:
    """The header that leads from this page to the next. The path is decoded once, by the server, and encoded once."""
    query = urlencode({**given, "after": after}, quote_via=quote, safe="")
    path = quote(request.scope["path"], safe=_PATH_SAFE)
    return {"Link": f'<{ascii_address(public_address)}{path}?{query}>; rel="next"'}


def location(public_address: str, path: str) -> dict[str, str]:
    """The header that names a resource of ours, without a host: below the path that the public address has."""
    return {"Location": public_path(public_address) + quote(path, safe=_PATH_SAFE)}


def public_path(public_address: str) -> str:
    """The path of the public address, percent-encoded, without a slash at its end; empty where it has none."""
    path = urlsplit(ascii_address(public_address)).path.strip("/")
    return f"/{path}" if path else ""


@lru_cache(maxsize=16)
def ascii_address(address: str) -> str:
    """The public address as a URI. Raises `ValueError` for one that cannot be."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, _ascii_host(parts), quote(parts.path, safe=_ADDRESS_SAFE), "", ""))


def _ascii_host(parts: SplitResult) -> str:
    port = "" if parts.port is None else f":{parts.port}"
    if not parts.hostname:
        raise ValueError(parts.netloc)
    return parts.netloc if parts.netloc.isascii() else parts.hostname.encode("idna").decode() + port
