"""A server's address, taken apart so that its credentials are sent and never shown."""

from base64 import b64encode
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit


class Address(NamedTuple):
    """`url` has no user, password, query or fragment and no slash at its end."""

    url: str
    user: str
    password: str
    query: str

    @property
    def auth(self) -> tuple[str, str] | None:
        return (self.user, self.password) if self.user or self.password else None

    @property
    def headers(self) -> dict[str, str]:
        """Basic authentication, for a request that is made by hand."""
        if self.auth is None:
            return {}
        return {"Authorization": f"Basic {b64encode(':'.join(self.auth).encode()).decode()}"}


def address_of(url: str) -> Address:
    """Of an address as it is configured, percent-encoded where it must be."""
    parts = urlsplit(url)
    user_info, _, place = parts.netloc.rpartition("@")
    user, _, password = user_info.partition(":")
    shown = urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))
    return Address(shown, unquote(user), unquote(password), parts.query)
