"""The rules on points, reasons and avatar addresses."""

import pytest

from huajuan.domain.refusals import (
    AvatarUrlInvalid,
    PointsInvalid,
    ReasonInvalid,
    ReasonMissing,
    ReasonTooLong,
    ReasonUnprintable,
)
from huajuan.domain.rules import check_avatar, check_points, check_reason


@pytest.mark.parametrize("points", [0, 1_000_001, -1])
def test_points_out_of_range_are_refused(points: int) -> None:
    with pytest.raises(PointsInvalid):
        check_points(points)


@pytest.mark.parametrize(
    ("reason", "refusal"),
    [
        ("", ReasonMissing),
        ("  ", ReasonMissing),
        (" " * 501, ReasonMissing),
        ("x" * 501, ReasonTooLong),
        ("字" * 10_000, ReasonTooLong),
        ("a\nb" * 500, ReasonTooLong),
        ("a\nb", ReasonUnprintable),
        ("\0", ReasonUnprintable),
    ],
)
def test_a_reason_is_one_line_of_printable_text(reason: str, refusal: type[ReasonInvalid]) -> None:
    with pytest.raises(refusal):
        check_reason(reason)
    check_reason("补偿")
    check_reason("封禁\u3000垃圾\u00a0👩\u200d💻")
    check_reason("字" * 500)


@pytest.mark.parametrize(
    "url",
    [
        "", "http://example.org", "https://example.org/a.png?x=1#y", "https://例子.org/画.png",
        "http://localhost:8080/images/a.png", f"/images/{'0a' * 16}.png", f"/avatars/{'0a' * 16}.png",
    ],
)  # fmt: skip
def test_a_web_address_an_own_picture_or_an_empty_text_is_a_valid_avatar(url: str) -> None:
    check_avatar(url)


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)", "data:image/png;base64,AA", "ftp://example.org/a", "/etc/passwd",
        "//example.org/a", "a",
        "http://", "http:///a.png", "https://exa mple.org", "https://example.org/\n", "http://[::1/a",
        "https://example.org/" + "a" * 250,
        "/images/a.png", f"//avatars/{'0a' * 16}.png", f"/avatars/{'0a' * 16}.png/..",
        f"/images/{'0A' * 16}.png", f"/images/{'0a' * 16}.png\n",
    ],
)  # fmt: skip
def test_any_other_avatar_is_refused(url: str) -> None:
    with pytest.raises(AvatarUrlInvalid):
        check_avatar(url)
