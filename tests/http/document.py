"""The OpenAPI document as it is served, and what a test asks of it."""

import asyncio
import copy
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import httpx

from huajuan.bootstrap import open_services
from huajuan.http.app import create_app
from huajuan.settings import Settings

SETTINGS = Settings(list_rows_max=700)
Json = dict[str, Any]


class Documented(NamedTuple):
    """One operation of the document."""

    method: str
    path: str
    says: Json

    @property
    def name(self) -> str:
        return f"{self.method.upper()} {self.path}"

    def examples(self, status: str) -> list[Json]:
        """The bodies that the document gives for a status."""
        content = self.says["responses"][status].get("content", {}).get("application/json", {})
        return [example["value"] for example in content.get("examples", {}).values()]


@cache
def document() -> Json:
    """Served without a database, which it does not need."""

    async def read() -> Json:
        transport = httpx.ASGITransport(create_app(SETTINGS, lambda: open_services(SETTINGS)))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://nowhere") as client:
            served: Json = (await client.get("/schema/openapi.json")).json()
            return served

    return asyncio.run(read())


def operations(of: Json | None = None) -> list[Documented]:
    paths = (of or document())["paths"]
    return [Documented(method, path, says) for path, item in paths.items() for method, says in item.items()]


def closed(of: Json) -> Json:
    """The same document, whose replies may hold nothing but what it names."""
    strict = copy.deepcopy(of)
    for schema in strict["components"]["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return strict


def schemas(of: Any) -> Iterator[Json]:
    """Every schema that describes the keys of an object, wherever it stands."""
    if isinstance(of, dict):
        if isinstance(of.get("properties"), dict):
            yield of
        of = list(of.values())
    if isinstance(of, list):
        for part in of:
            yield from schemas(part)
