"""Reads the Accept header: which of the kinds that a route can send the client would rather have."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from litestar import Request

HEADER_CHARACTERS_MAX = 1_000
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_RANGE = re.compile(rf"\s*({_WORD})/({_WORD})\s*((?:;.*)?)", re.DOTALL)
_PARTS = re.compile(r'(?:"(?:\\.|[^"\\])*"|[^",])+')
_PARAMETERS = re.compile(r';\s*([^\s;="]+)\s*=\s*("(?:\\.|[^"\\])*"|[^;"]*)')
# As RFC 9110 has it: 0 to 1, at most three digits behind the point. What Python calls a number is more.
_QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


class _Range(NamedTuple):
    """What the client takes, such as `text/*`, and how much it likes that: 0 is not at all."""

    type: str
    subtype: str
    quality: float

    @property
    def precision(self) -> int:
        return (self.type != "*") + (self.subtype != "*")

    def matches(self, kind: str) -> bool:
        type_, _, subtype = kind.partition("/")
        return self.type in ("*", type_) and self.subtype in ("*", subtype)


def preferred(request: Request[Any, Any, Any], *offered: str) -> str:
    """The one of these that the client likes best: the first, if it has no wish or likes none."""
    ranges = list(_ranges(request))
    liked = [(rank, -n, kind) for n, kind in enumerate(offered) if (rank := _rank(ranges, kind))]
    return max(liked)[2] if liked else offered[0]


def names(request: Request[Any, Any, Any], kind: str) -> bool:
    """Whether the client names exactly this kind as one it takes; `*/*` names nothing."""
    return any(found.precision == 2 and found.matches(kind) and found.quality for found in _ranges(request))


def _rank(ranges: Iterable[_Range], kind: str) -> tuple[float, int, int] | None:
    """The most precise range that matches says how much a kind is liked; among equals, the order of the client."""
    matching = [(found.precision, -n, found.quality) for n, found in enumerate(ranges) if found.matches(kind)]
    precision, place, quality = max(matching, default=(0, 0, 0.0))
    return (quality, precision, place) if quality else None


def _ranges(request: Request[Any, Any, Any]) -> Iterator[_Range]:
    """What is malformed, or longer than anybody needs, counts as not sent."""
    for header in request.headers.getall("accept", []):
        for part in _PARTS.findall(header) if len(header) <= HEADER_CHARACTERS_MAX else ():
            found = _RANGE.fullmatch(part)
            quality = _quality(found[3]) if found else None
            if found and quality is not None and (found[1] != "*" or found[2] == "*"):
                yield _Range(found[1].lower(), found[2].lower(), quality)


def _quality(parameters: str) -> float | None:
    """1 unless told; `None` where it is no quality."""
    for name, value in _PARAMETERS.findall(parameters):
        if name.lower() == "q":
            return float(value.strip()) if _QUALITY.fullmatch(value.strip()) else None
    return 1.0
