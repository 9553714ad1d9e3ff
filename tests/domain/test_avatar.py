"""What an avatar's address may be."""

import pytest

from huajuan.domain.avatar import check_avatar
from huajuan.domain.refusals import AvatarUnfit


@pytest.mark.parametrize(
    "url", ["", "http://example.org", "https://example.org/a.png?x=1#y", "https://例子.org/画.png", "http://localhost:8080/images/a.png", f"/images/{'0a' * 16}.png", f"/avatars/{'0a' * 16}.png"]
)  # fmt: skip
def test_an_address_of_the_web_or_none(url: str) -> None:
    check_avatar(url)


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)", "data:image/png;base64,AA", "ftp://example.org/a", "/etc/passwd", "//example.org/a", "a",
        "http://", "http:///a.png", "https://exa mple.org", "https://example.org/\n", "http://[::1/a",
        "https://example.org/" + "a" * 250,
        "/images/a.png", f"//avatars/{'0a' * 16}.png", f"/avatars/{'0a' * 16}.png/..", f"/images/{'0A' * 16}.png", f"/images/{'0a' * 16}.png\n",
    ],
)  # fmt: skip
def test_any_other_text_is_refused(url: str) -> None:
    with pytest.raises(AvatarUnfit):
        check_avatar(url)
