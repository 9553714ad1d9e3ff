"""A small object store with the part of S3 that obstore uses, over real HTTP on loopback."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import patch

from tests.services import serving

REGION = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "key", "AWS_ALLOW_HTTP": "true"}


class FakeS3:
    """`objects` and `types` by path; if `refusing` is set, all replies have that status."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.types: dict[str, str] = {}
        self.refusing = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        content, more = b"", True
        while more:
            message = await receive()
            content, more = content + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        status, fields, reply = self._answer(scope["method"], scope["path"], headers, content)
        fields["content-length"] = fields.get("content-length", str(len(reply)))
        start = [(name.encode(), value.encode()) for name, value in fields.items()]
        await send({"type": "http.response.start", "status": status, "headers": start})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else reply})

    def _answer(
        self, method: str, path: str, headers: dict[str, str], content: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        if self.refusing:
            return self.refusing, {}, b"<Error><Code>Refused</Code></Error>"
        if method == "PUT":
            if headers.get("if-none-match") == "*" and path in self.objects:
                return 412, {}, b""
            self.objects[path], self.types[path] = content, headers.get("content-type", "")
            return 200, {"etag": '"1"'}, b""
        if method == "POST":  # a request to delete several objects
            keys = re.findall(r"<Key>(.*?)</Key>", content.decode())
            for key in keys:
                self.objects.pop(f"{path}/{key}", None)
            gone = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            return 200, {}, f"<DeleteResult>{gone}</DeleteResult>".encode()
        if path not in self.objects:
            return 404, {}, b""
        found = self.objects[path]
        fields = {"etag": '"1"', "last-modified": "Sun, 29 Nov 2026 10:00:00 GMT"}
        if wanted := headers.get("range"):
            first, last = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
            fields["content-range"] = f"bytes {first}-{min(last, len(found) - 1)}/{len(found)}"
            return 206, fields, found[first : last + 1]
        return 200, fields | {"content-length": str(len(found))}, found


@asynccontextmanager
async def fake_s3() -> AsyncIterator[FakeS3]:
    """In the block, `s3://bucket` is this store."""
    store = FakeS3()
    async with serving(store) as address:
        with pointing_at(address):
            yield store


@contextmanager
def pointing_at(address: str) -> Iterator[None]:
    more = {"AWS_ENDPOINT_URL": address, "AWS_SECRET_ACCESS_KEY": "secret"}
    with patch.dict("os.environ", REGION | more):
        yield
