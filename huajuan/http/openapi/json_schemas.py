"""JSON schemas of parameters for the OpenAPI document."""

import re
from collections.abc import Mapping
from typing import Any, get_args

from litestar.openapi.spec import Schema

from huajuan.http.request_body import SAMPLING_METHODS
from huajuan.http.serializers import PICTURE_KEY
from huajuan.projections.generations import STATUSES
from huajuan.projections.queries.images import Sort

TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
NUMBER = COUNT | {"minimum": 1}
DATE: dict[str, Any] = {"type": "string", "format": "date"}
TIME = {"anyOf": [DATE, {"type": "string", "format": "date-time"}]}
# A parameter has the same schema in every operation.
PARAMETER_SCHEMAS: Mapping[str, dict[str, Any]] = {
    "sort": {"type": "string", "enum": list(get_args(Sort)), "default": "time"},
    "order": {"type": "string", "enum": ["asc", "desc"], "default": "asc"},
    "sampling_method": {"type": "string", "enum": list(SAMPLING_METHODS)},
    **dict.fromkeys(("username", "prompt", "url", "after", "feature"), TEXT),
    **dict.fromkeys(("width", "height", "steps"), COUNT),
    **dict.fromkeys(("start_time", "end_time"), TIME),
    "as_of": {"anyOf": [COUNT, *TIME["anyOf"]]},
    "format": {"type": "string", "enum": ["json", "csv", "csv-excel"], "default": "json"},
    **dict.fromkeys(("id", "generation"), NUMBER),
    "status": {"type": "string", "enum": list(STATUSES)},
    "key": {"type": "string", "pattern": f"^{PICTURE_KEY.pattern}$"},
    "limit": NUMBER,
    **dict.fromkeys(("from", "to"), DATE),
    "name": {"type": "string", "pattern": "^[a-z_]+$"},
    "isOwn": {"type": "boolean", "default": False},
}


def schema_of(described: Mapping[str, Any]) -> Schema:
    """Litestar's form of a JSON schema."""
    return Schema(**{_attribute(key): _part(key, value) for key, value in described.items()})


def _attribute(key: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", key)


def _part(key: str, value: Any) -> Any:
    if key == "properties":
        return {name: schema_of(part) for name, part in value.items()}
    if key in ("anyOf", "oneOf"):
        return [schema_of(part) for part in value]
    return schema_of(value) if key == "items" else value
