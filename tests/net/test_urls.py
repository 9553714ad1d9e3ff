"""Origins are normalized to the form of browsers."""

import pytest

from huajuan.net.urls import normalized_origin
from huajuan.settings import SettingsError, from_environment


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://localhost:3000/", "http://localhost:3000"),
        ("HTTP://LocalHost:3000", "http://localhost:3000"),
        ("https://example.org:443", "https://example.org"),
        ("http://example.org:80/", "http://example.org"),
        ("http://example.org:443", "http://example.org:443"),
        ("http://[::1]:8081/", "http://[::1]:8081"),
        ("http://[0:0:0:0:0:0:0:1]", "http://[::1]"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("null", "null"),
        ("*", "*"),
    ],
)
def test_an_origin_is_normalized(text: str, origin: str) -> None:
    assert normalized_origin(text) == origin
    assert from_environment({"HUAJUAN_CORS_ORIGINS": f" {text} ,"}).allowed_origins == (origin,)


@pytest.mark.parametrize(
    "text",
    [
        "localhost:3000",
        "http://",
        "http://example.org/app",
        "http://example.org?x",
        "http://example.org/#",
        "http://ann@example.org",
        "http://example.org:port",
        "http://example.org:99999",
        "http://exa mple.org",
        "http://[::1",
        "http://127.1",
        "http://ß.example",
        "http://*.example.org",
        "Null",
        f"http://{'ü' * 64}.example",
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="HUAJUAN_CORS_ORIGINS must be origins"):
        from_environment({"HUAJUAN_CORS_ORIGINS": f"http://localhost:8081,{text}"})
