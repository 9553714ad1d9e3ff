"""The `Prefer` header, as RFC 7240 has it."""

import pytest

from huajuan.http.prefer_header import RESPOND_ASYNC, prefers


@pytest.mark.parametrize(
    "headers",
    [
        ["respond-async"], ["Respond-Async"], [" respond-async "], ["wait=10, respond-async"],
        ["respond-async;wait=10"], ["respond-async; a; b=\"c,d\", x"], ["a=\"b,c\", respond-async"], ["x", "respond-async"],
        ["respond-async=\"\""], [", ,respond-async,"], ["(broken), respond-async"],
    ],
)  # fmt: skip
def test_it_is_preferred(headers: list[str]) -> None:
    assert prefers(headers, RESPOND_ASYNC)


@pytest.mark.parametrize(
    "headers",
    [
        [], [""], ["respond"], ["respond-asynchronously"], ["x;respond-async"], ["a=respond-async"],
        ["a=\"x, respond-async, y\""], ["a=\"x\\\", respond-async\""], ["respond async"], ["x" * 500 + ",respond-async"],
    ],
)  # fmt: skip
def test_it_is_not_preferred(headers: list[str]) -> None:
    assert not prefers(headers, RESPOND_ASYNC)
