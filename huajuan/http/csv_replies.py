"""Lists that may be asked for as CSV, for spreadsheets."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.datastructures.headers import Accept
from litestar.openapi.spec import OpenAPIMediaType, Operation
from msgspec.structs import astuple

from huajuan.http.queries import unfit
from huajuan.http.shapes import schema_of
from huajuan.spreadsheets import csv_line

CSV = "text/csv"
FORMAT = "`json` (default) or `csv`, as `Accept: text/csv` asks for too"


def wants_csv(request: Request[Any, Any, Any], given: dict[str, str]) -> bool:
    """Raises `Refusal` for a `format` that is none."""
    if "format" in given:
        if given["format"] not in {"json", "csv"}:
            raise unfit("format")
        return given["format"] == "csv"
    accepted = Accept(request.headers.get("accept", "*/*"))
    return accepted.best_match(["application/json", CSV]) == CSV


def csv_reply(
    kind: type[msgspec.Struct], rows: Iterable[msgspec.Struct], headers: dict[str, str]
) -> Response[str]:
    """A line a row, under the names of the fields."""
    lines = [csv_line(kind.__struct_fields__), *(csv_line(astuple(row)) for row in rows)]
    headers["Content-Disposition"] = 'attachment; filename="points.csv"'
    return Response("".join(lines), media_type=CSV, headers=headers)


def may_be_csv(asking: type[Operation], row: dict[str, Any]) -> type[Operation]:
    """What is asked, and that a 200 may be CSV as well; `row` is an example of one."""

    @dataclass
    class MaybeCsv(asking):  # type: ignore[misc, valid-type]
        def __post_init__(self) -> None:
            super().__post_init__()
            content = OpenAPIMediaType(
                schema=schema_of({"type": "string"}), example=csv_line(row) + csv_line(row.values())
            )
            (self.responses or {})["200"].content[CSV] = content

    return MaybeCsv
