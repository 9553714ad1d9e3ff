"""HTTP requests to one ComfyUI server, with limits of size and time. A failed one was sent, or was not."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx
import msgspec

from huajuan.inference_client.models import ClientLimits

# Statuses of the server itself. 502 and 504 come from a proxy, behind which the request may go on.
ENDED_WITH_ERROR = {500, 501, 503}
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class Address(NamedTuple):
    """The parts of a server URL, its user and password as a header.

    `url` has no user, password, query, fragment or trailing slash.
    """

    url: str
    headers: dict[str, str]
    query: str


def parse_address(url: str) -> Address:
    """Parse a configured URL, whose user and password are percent-encoded."""
    parts = urlsplit(url)
    user_info, _, host = parts.netloc.rpartition("@")
    user, _, password = map(unquote, user_info.partition(":"))
    public_url = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
    basic = b64encode(f"{user}:{password}".encode()).decode()
    return Address(public_url, {"Authorization": f"Basic {basic}"} if user or password else {}, parts.query)


class TransportError(Exception):
    """There is no usable response. `reason` is a short sentence, the message has the details."""

    reason = "the server cannot be reached"


class RequestNotSent(TransportError):
    """No connection was made, so the request did not reach the server."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        if "CERTIFICATE_VERIFY_FAILED" in detail:
            self.reason = "the server's certificate is not valid here"


class NoUsableResponse(TransportError):
    """The request may have been processed: timeout, broken connection, status 5xx or unreadable response."""

    reason = "the server does not answer clearly"


class ResponseTimeout(NoUsableResponse):
    """The time limit passed."""

    reason = "the server does not answer in time"


class UnusableResponse(NoUsableResponse):
    """There is a response, but not one that the client can use."""

    def __init__(self, response: "Response", detail: str = "") -> None:
        super().__init__(f"{detail}, {response.text}" if detail else response.text)
        self.reason = response.reason


class ResponseTooLarge(NoUsableResponse):
    """The response is larger than the limit."""


class ServerErrorResponse(UnusableResponse):
    """The server itself ended the request with an error, so it is not being processed."""


class Response(msgspec.Struct, frozen=True):
    """HTTP status, media type in lower case without parameters, and body."""

    status: int
    media_type: str
    body: bytes

    @property
    def is_json(self) -> bool:
        return self.media_type == "application/json"

    @property
    def text(self) -> str:
        """The beginning of the body, for logs."""
        return f"HTTP {self.status}: {self.body[:1000].decode('utf-8', 'replace')}"

    @property
    def reason(self) -> str:
        """Why the response is not usable, for operators."""
        if self.status in {401, 407}:
            return "the server asks for a password"
        if self.status in {403, 429}:
            return "the server refuses to answer us"
        if self.status >= 500:
            return "the server answers with an error"
        return "no ComfyUI answers at this address"

    def decoded(self) -> Any:
        """The body as JSON, whatever the status. Raises `NoUsableResponse`."""
        if not self.is_json:
            raise UnusableResponse(self, f"no JSON but {self.media_type or 'no content type'}")
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
            raise UnusableResponse(self, f"broken JSON, {problem}") from problem

    def document(self) -> dict[str, Any]:
        """The JSON object of a response with status 200. Raises `NoUsableResponse`."""
        if self.status != 200 or not isinstance(found := self.decoded(), dict):
            raise UnusableResponse(self)
        return found


class Transport:
    """A connection pool for one server. The path of `url`, if any, is the prefix of the server's routes."""

    def __init__(self, url: str, limits: ClientLimits) -> None:
        self._limits = limits
        address = parse_address(url)
        self._http = httpx.AsyncClient(
            base_url=address.url,
            params=address.query,
            timeout=httpx.Timeout(limits.read_seconds_max, connect=limits.connect_seconds_max),
            limits=httpx.Limits(
                max_connections=limits.connections_max, keepalive_expiry=limits.idle_connection_seconds_max
            ),
            # HTTP_PROXY is meant for the internet, not for a server on the same network.
            trust_env=False,
            verify=_ssl_context(),
            headers={"Accept-Encoding": "identity", "User-Agent": "huajuan", **address.headers},
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    async def get(self, path: str) -> Response:
        return await self._whole("GET", path)

    async def post(self, path: str, body: object) -> Response:
        return await self._whole("POST", path, json=body)

    async def picture(self, params: Mapping[str, str]) -> Response:
        """GET /view without a time limit. Raises `ResponseTooLarge` beyond `picture_bytes_max`."""
        return await self._send("GET", "/view", self._limits.picture_bytes_max, params=dict(params))

    async def _whole(self, method: str, path: str, **request: Any) -> Response:
        try:
            async with asyncio.timeout(self._limits.request_seconds_max):
                return await self._send(method, path, self._limits.json_bytes_max, **request)
        except TimeoutError as problem:
            raise ResponseTimeout(f"{method} {path} took too long") from problem

    async def _send(self, method: str, path: str, bytes_max: int, **request: Any) -> Response:
        try:
            async with self._http.stream(method, path, **request) as response:
                body = await _bounded_body(response, bytes_max)
        except NEVER_SENT as problem:
            raise RequestNotSent(_described(problem)) from problem
        except httpx.TimeoutException as problem:
            raise ResponseTimeout(_described(problem)) from problem
        except (httpx.HTTPError, httpx.StreamError) as problem:
            raise NoUsableResponse(_described(problem)) from problem
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        received = Response(response.status_code, media_type, body)
        if received.status in ENDED_WITH_ERROR:
            raise ServerErrorResponse(received)
        if received.status >= 500:
            raise UnusableResponse(received)
        return received


async def _bounded_body(response: httpx.Response, bytes_max: int) -> bytes:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > bytes_max:
            raise ResponseTooLarge(f"{response.url.path}: more than {bytes_max} bytes")
    return bytes(body)


# Reading all certificates takes tens of milliseconds.
_ssl_context = cache(ssl.create_default_context)


def _described(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}"
