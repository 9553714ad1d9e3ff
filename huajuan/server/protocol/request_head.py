"""Checks of a request's head that the parser does not make."""

import httptools

from huajuan.server.protocol.replies import RequestRefused, malformed

_VERSIONS = frozenset({"1.0", "1.1"})
_SCHEMES = frozenset({b"http", b"https"})
Headers = list[tuple[bytes, bytes]]


def check_head(method: bytes, version: str, headers: Headers) -> None:
    """Refuse what proxies and servers could read in two ways, and what is no HTTP/1. Raises `RequestRefused`."""
    if version not in _VERSIONS:
        raise malformed("HTTP version")
    if method == b"CONNECT":
        raise malformed("CONNECT")
    names = [name for name, _ in headers]
    if names.count(b"host") > 1:
        raise malformed("two Host headers")
    if b"transfer-encoding" in names and not _is_chunked(version, headers):
        raise malformed("Transfer-Encoding")


def _is_chunked(version: str, headers: Headers) -> bool:
    return version != "1.0" and dict(headers)[b"transfer-encoding"].lower() == b"chunked"


def origin_form(url: bytes, method: bytes) -> bytes:
    """Path and query of an address that a client sends whole, as to a proxy. Raises `RequestRefused`."""
    if url == b"*" and method == b"OPTIONS":
        return url
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        raise malformed("request target") from None
    # Each part may be missing, whatever its type says.
    if (parsed.schema or b"").lower() not in _SCHEMES:
        raise malformed("request target")
    path = parsed.path or b"/"
    return b"%b?%b" % (path, parsed.query) if parsed.query else path


def without_upgrade(method: bytes, url: bytes, headers: Headers) -> bytes:
    """The head again as one that asks for no other protocol."""
    lines = [b"%b: %b\r\n" % header for header in headers if header[0] != b"upgrade"]
    return b"".join([b"%b %b HTTP/1.1\r\n" % (method, url), *lines, b"\r\n"])


def refused_by(error: httptools.HttpParserError) -> RequestRefused:
    """Its context is what a callback raised."""
    cause = error.__context__
    if isinstance(cause, RequestRefused):
        return cause
    return malformed(str(error) if cause is None else type(cause).__name__)
