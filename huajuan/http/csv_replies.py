"""Lists that may be asked for as CSV, for spreadsheets."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import msgspec
from litestar import Request, Response
from litestar.openapi.spec import OpenAPIMediaType, Operation
from msgspec.structs import astuple

from huajuan.http.csv_safe import csv_line
from huajuan.http.middleware.accepting import preferred
from huajuan.http.openapi.json_schemas import schema_of
from huajuan.http.query_params import unfit

JSON, CSV = "application/json", "text/csv"
FORMAT = (
    "`json` (default); `csv`, as `Accept: text/csv` asks for too; or `csv-excel`, the same with a byte order mark, "
    "without which Excel does not read it as UTF-8"
)
Format = Literal["json", "csv", "csv-excel"]
FORMATS: tuple[str, ...] = get_args(Format)
BYTE_ORDER_MARK = "\ufeff"


def format_of(request: Request[Any, Any, Any], given: dict[str, str]) -> Format:
    """What `format` says, or else `Accept`. Raises `Refusal` for a `format` that is none."""
    if "format" in given:
        if given["format"] not in FORMATS:
            raise unfit("format")
        return cast("Format", given["format"])
    return "csv" if preferred(request, JSON, CSV) == CSV else "json"


def csv_reply(
    format_: Format, kind: type[msgspec.Struct], rows: Iterable[msgspec.Struct], headers: dict[str, str]
) -> Response[str]:
    """A line a row, under the names of the fields."""
    lines = [csv_line(kind.__struct_fields__), *(csv_line(astuple(row)) for row in rows)]
    if format_ == "csv-excel":
        lines.insert(0, BYTE_ORDER_MARK)
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
