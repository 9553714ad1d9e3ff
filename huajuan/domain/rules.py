"""Prices and the rules on values that commands take: points, reasons and avatar addresses."""

import re
import unicodedata
from urllib.parse import urlsplit

from huajuan.domain.refusals import (
    AvatarUrlInvalid,
    BalanceOutOfRange,
    PointsInvalid,
    ReasonMissing,
    ReasonTooLong,
    ReasonUnprintable,
)

PICTURE_COST = 20
CHECK_IN_REWARD = 100
# Points that one event may grant or deduct.
ADJUSTMENT_MAX = 1_000_000
# Points that an account may have or owe: sums fit the database's integers and a JSON client's exact numbers.
BALANCE_MAX = 10**12

REASON_CHARACTERS_MAX = 500
_EMOJI_JOINER = "\N{ZERO WIDTH JOINER}"

AVATAR_URL_CHARACTERS_MAX = 255
# The path of a picture of this service, under any public address.
OWN_PATH = re.compile(r"/(?:images|avatars)/[0-9a-f]{32}\.png")


def check_points(points: int) -> None:
    """Accept 1 to 1,000,000. Raises `PointsInvalid`."""
    if not 0 < points <= ADJUSTMENT_MAX:
        raise PointsInvalid


def check_balance_max(points: int) -> None:
    """Raises `BalanceOutOfRange` if an account would have more than 10^12 points."""
    if points > BALANCE_MAX:
        raise BalanceOutOfRange


def check_balance_min(balance: int) -> None:
    """Raises `BalanceOutOfRange` if an account would owe more than 10^12 points."""
    if balance < -BALANCE_MAX:
        raise BalanceOutOfRange


def check_reason(reason: str) -> None:
    """Accept one line of printable text, 1 to 500 characters. Raises a `ReasonInvalid`."""
    if not reason.strip():
        raise ReasonMissing
    if len(reason) > REASON_CHARACTERS_MAX:
        raise ReasonTooLong
    if not all(map(_is_printable, reason)):
        raise ReasonUnprintable


def _is_printable(character: str) -> bool:
    """Spaces such as the ideographic one, and the joiner inside an emoji, count as printable."""
    is_space = unicodedata.category(character) == "Zs"
    return character.isprintable() or is_space or character == _EMOJI_JOINER


def check_avatar(url: str) -> None:
    """Accept an empty text, the path of an own picture, or an http(s) URL of up to 255 characters.

    Raises `AvatarUrlInvalid`.
    """
    if url and not OWN_PATH.fullmatch(url) and not _is_web_address(url):
        raise AvatarUrlInvalid


def _is_web_address(url: str) -> bool:
    if len(url) > AVATAR_URL_CHARACTERS_MAX or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
