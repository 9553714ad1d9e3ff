"""The OpenAPI document as it is served, and views of it for tests."""

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
        """The example bodies of a status."""
        content = self.says["responses"][status].get("content", {}).get("application/json", {})
        return [example["value"] for example in content.get("examples", {}).values()]


@cache
def document() -> Json:
    """Served without a database, which it does not need."""

    async def read() -> Json:
        app = create_app(SETTINGS, lambda: open_services(SETTINGS))
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://nowhere") as client:
            served: Json = (await client.get("/schema/openapi.json")).json()
            return served

    return asyncio.run(read())


def operations(of: Json | None = None) -> list[Documented]:
    paths = (of or document())["paths"]
    return [Documented(method, path, says) for path, item in paths.items() for method, says in item.items()]


@cache
def closed() -> Json:
    """The same document, but its objects allow no additional properties."""
    strict = copy.deepcopy(document())
    for schema in strict["components"]["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return strict


def schemas(of: Any) -> Iterator[Json]:
    """Every schema with properties, at any depth."""
    if isinstance(of, dict):
        if isinstance(of.get("properties"), dict):
            yield of
        of = list(of.values())
    if isinstance(of, list):
        for part in of:
            yield from schemas(part)
