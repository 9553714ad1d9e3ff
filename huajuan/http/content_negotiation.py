"""Content negotiation: the `Accept` and `Prefer` headers, and lists as CSV."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple, cast, get_args

import msgspec
from litestar import Request, Response
from msgspec.structs import astuple

from huajuan.http.errors import invalid_parameter

JSON, CSV = "application/json", "text/csv"
Format = Literal["json", "csv", "csv-excel"]
FORMATS: tuple[str, ...] = get_args(Format)
BYTE_ORDER_MARK = "\ufeff"
RESPOND_ASYNC = "respond-async"
ACCEPT_CHARACTERS_MAX = 1_000
# A longer Prefer header is ignored.
_PREFER_CHARACTERS_MAX = 500
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_RANGE = re.compile(rf"\s*({_WORD})/({_WORD})\s*((?:;.*)?)", re.DOTALL)
_PARTS = re.compile(r'(?:"(?:\\.|[^"\\])*"|[^",])+')
_PARAMETERS = re.compile(r';\s*([^\s;="]+)\s*=\s*("(?:\\.|[^"\\])*"|[^;"]*)')
# RFC 9110: 0 to 1 with at most three digits after the point. float() accepts more than that.
_QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PREFERENCE = re.compile(rf'(?:[^,"]|{_QUOTED})+')
_PREFERENCE_NAME = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*(?:[=;]|$)")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


class MediaRange(NamedTuple):
    """One range of an `Accept` header, such as `text/*`; quality 0 means not acceptable."""

    type: str
    subtype: str
    quality: float

    @property
    def precision(self) -> int:
        return (self.type != "*") + (self.subtype != "*")

    def matches(self, media_type: str) -> bool:
        type_, _, subtype = media_type.partition("/")
        return self.type in ("*", type_) and self.subtype in ("*", subtype)


def preferred_type(request: Request[Any, Any, Any], *offered: str) -> str:
    """The offered media type that the client prefers; the first one if it has no preference."""
    ranges = list(_ranges(request))
    acceptable = [(rank, -n, kind) for n, kind in enumerate(offered) if (rank := _rank(ranges, kind))]
    return max(acceptable)[2] if acceptable else offered[0]


def names_type(request: Request[Any, Any, Any], media_type: str) -> bool:
    """Whether the client names exactly this media type; `*/*` does not count."""
    return any(
        found.precision == 2 and found.matches(media_type) and found.quality for found in _ranges(request)
    )


def prefers(headers: list[str], preference: str) -> bool:
    """Whether a `Prefer` header (RFC 7240) contains the preference, with any value and parameters."""
    return any(
        preference in _preferences(header) for header in headers if len(header) <= _PREFER_CHARACTERS_MAX
    )


def format_of(request: Request[Any, Any, Any], given: dict[str, str]) -> Format:
    """The `format` parameter, or else what `Accept` prefers. Raises `ApiError`."""
    if "format" in given:
        if given["format"] not in FORMATS:
            raise invalid_parameter("format")
        return cast("Format", given["format"])
    return "csv" if preferred_type(request, JSON, CSV) == CSV else "json"


def csv_response(
    format_: Format, kind: type[msgspec.Struct], rows: Iterable[msgspec.Struct], headers: dict[str, str]
) -> Response[str]:
    """A header line with the names of the fields, then one line a row."""
    lines = [csv_line(kind.__struct_fields__), *(csv_line(astuple(row)) for row in rows)]
    if format_ == "csv-excel":
        lines.insert(0, BYTE_ORDER_MARK)
    headers["Content-Disposition"] = 'attachment; filename="points.csv"'
    return Response("".join(lines), media_type=CSV, headers=headers)


def csv_line(cells: Iterable[Any]) -> str:
    """One line of RFC 4180, ended by CRLF; `None` is empty.

    A text that a spreadsheet would run as a formula is prefixed with an apostrophe.
    """
    line = io.StringIO()
    csv.writer(line).writerow([_escape_formula(cell) if isinstance(cell, str) else cell for cell in cells])
    return line.getvalue()


def _escape_formula(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _preferences(header: str) -> set[str]:
    names = (_PREFERENCE_NAME.match(part) for part in _PREFERENCE.findall(header))
    return {name[1].lower() for name in names if name}


def _rank(ranges: Iterable[MediaRange], kind: str) -> tuple[float, int, int] | None:
    """Quality, precision and order of the most precise matching range; `None` if not acceptable."""
    matching = [(found.precision, -n, found.quality) for n, found in enumerate(ranges) if found.matches(kind)]
    precision, order, quality = max(matching, default=(0, 0, 0.0))
    return (quality, precision, order) if quality else None


def _ranges(request: Request[Any, Any, Any]) -> Iterator[MediaRange]:
    """Malformed ranges and over-long headers are ignored."""
    for header in request.headers.getall("accept", []):
        for part in _PARTS.findall(header) if len(header) <= ACCEPT_CHARACTERS_MAX else ():
            found = _RANGE.fullmatch(part)
            quality = _quality(found[3]) if found else None
            if found and quality is not None and (found[1] != "*" or found[2] == "*"):
                yield MediaRange(found[1].lower(), found[2].lower(), quality)


def _quality(parameters: str) -> float | None:
    """The value of `q`, 1 by default; `None` if it is malformed."""
    for name, value in _PARAMETERS.findall(parameters):
        if name.lower() == "q":
            return float(value.strip()) if _QUALITY.fullmatch(value.strip()) else None
    return 1.0
