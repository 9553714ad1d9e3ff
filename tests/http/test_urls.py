"""The texts of `Link` and `Location`: path and query can be decoded again."""

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Request

from huajuan.http.urls import location, next_page
from huajuan.net.urls import ascii_address
from tests.http.document import operations

PUBLIC = "http://pictures.example"
OF_ACCOUNTS = {"timeline": "timeline", "points": "entries", "gallery": "images"}
# By path: the key of the rows, and further query parameters.
PAGED = {
    "/user/all": ("users", {}),
    "/image/all": ("images", {"prompt": "日 +&%=#?\"'🎨", "username": "pa\u0300inter%30"}),
    "/auth/user/images": ("images", {"prompt": "%2B + 日"}),
    "/auth/user/images/timeRange": (
        "images",
        {"start_time": "2000-01-01T00:00:00+08:00", "end_time": "2100-01-01"},
    ),
    "/auth/user/favoritedimages": ("images", {}),
    "/auth/generations": ("generations", {"status": "succeeded"}),
    "/auth/points/history": ("history", {"format": "json"}),
    **{f"/admin/users/{{username}}/{what}": (rows, {}) for what, rows in OF_ACCOUNTS.items()},
    **{f"/admin/users/id/{{id}}/{what}": (rows, {}) for what, rows in OF_ACCOUNTS.items()},
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def test_every_route_that_pages_is_looked_at() -> None:
    paged = {
        one.path for one in operations() if "after" in {p["name"] for p in one.says.get("parameters", ())}
    }
    # The pages of pending accounts need another setting, and have their own test.
    assert paged - {"/admin/users/pending"} == PAGED.keys()


def followed(link: str) -> str:
    """Path and query of the next page, still encoded."""
    assert link.isascii()
    assert link.isprintable()
    address, _, rest = link.removeprefix("<").partition(">")
    assert rest == '; rel="next"'
    # Clients split the header at these characters.
    assert not set(" ,;<>\"'\\") & set(address)
    assert address.startswith(PUBLIC)
    return address.removeprefix(PUBLIC)


def asked(path: str) -> Request[Any, Any, Any]:
    return Request({"type": "http", "path": path, "state": {}, "headers": []})  # type: ignore[arg-type]


@given(path=TEXT, query=st.dictionaries(TEXT, TEXT), after=TEXT)
def test_any_text_comes_back_from_a_link(path: str, query: dict[str, str], after: str) -> None:
    target = followed(next_page(asked(f"/{path}"), PUBLIC, query, after)["Link"])
    parts = urlsplit(target.replace("/", "http://h/", 1))
    assert unquote(parts.path) == f"/{path}"
    assert dict(parse_qsl(parts.query, keep_blank_values=True)) == {**query, "after": after}


@given(path=TEXT)
def test_any_path_comes_back_from_a_location(path: str) -> None:
    told = location("http://h/画/api", f"/{path}")["Location"]
    assert told.isascii()
    assert told.isprintable()
    assert unquote(told) == f"/画/api/{path}"


@pytest.mark.parametrize(
    ("address", "uri"),
    [
        ("http://h", "http://h"),
        ("https://h:8443/a/b", "https://h:8443/a/b"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("http://例子.广告:81/画 卷", "http://xn--fsqu00a.xn--4rr70v:81/%E7%94%BB%20%E5%8D%B7"),
        ("http://h/%E7%94%BB", "http://h/%E7%94%BB"),
        ("http://h/a\r\nX-Evil: 1", "http://h/aX-Evil:%201"),
    ],
)
def test_a_public_address_is_a_uri(address: str, uri: str) -> None:
    assert ascii_address(address) == uri


@pytest.mark.parametrize(
    "address", ["http://", "http:///x", "http://[bad", "http://h:99999", "http://" + "画" * 70]
)
def test_an_address_that_cannot_be_is_refused(address: str) -> None:
    with pytest.raises(ValueError):
        ascii_address(address)
