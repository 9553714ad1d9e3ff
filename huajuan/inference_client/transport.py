"""HTTP to one ComfyUI server: every answer bounded in size and time, every failure one of two kinds."""

import asyncio
import ssl
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import httpx
import msgspec

from huajuan.inference_client.address import address_of
from huajuan.inference_client.limits import Limits

NOTHING: Mapping[str, str] = MappingProxyType(
    {}
)  # Unlike these, 502 and 504 come from something in between, behind which the request may go on.
ENDED_WITH_ERROR = {500, 501, 503}
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class Trouble(Exception):
    """The server gave no usable answer. `reason` says why in a short sentence, the message in detail."""

    reason = "the server cannot be reached"


class NotSent(Trouble):
    """No connection came about: the server has seen nothing of the request."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        if "CERTIFICATE_VERIFY_FAILED" in detail:
            self.reason = "the server's certificate is not valid here"


class NoAnswer(Trouble):
    """The request may have been acted upon: time-out, broken connection, error 5xx, unreadable answer."""

    reason = "the server does not answer clearly"


class TookLong(NoAnswer):
    """No answer in time."""

    reason = "the server does not answer in time"


class Unusable(NoAnswer):
    """There is an answer, but none that this library can do anything with."""

    def __init__(self, answer: "Answer", detail: str = "") -> None:
        super().__init__(f"{detail}, {answer.text}" if detail else answer.text)
        self.reason = answer.reason


class TooLarge(NoAnswer):
    """The answer is longer than the bound."""


class ServerError(Unusable):
    """The server itself ended the request with an error, so nothing of it is still under way."""


class Answer(msgspec.Struct, frozen=True):
    """One answer: HTTP status, media type in lower case without parameters, body."""

    status: int
    media_type: str
    body: bytes

    @property
    def is_json(self) -> bool:
        return self.media_type == "application/json"

    @property
    def text(self) -> str:
        """The body's beginning, for the log."""
        return f"HTTP {self.status}: {self.body[:1000].decode('utf-8', 'replace')}"

    @property
    def reason(self) -> str:
        """Why it is of no use, for the operator."""
        if self.status in {401, 407}:
            return "the server asks for a password"
        if self.status in {403, 429}:
            return "the server refuses to answer us"
        if self.status >= 500:
            return "the server answers with an error"
        return "no ComfyUI answers at this address"

    def decoded(self) -> Any:
        """The body as JSON whatever the status; NoAnswer when it is none."""
        if not self.is_json:
            raise Unusable(self, f"no JSON but {self.media_type or 'no content type'}")
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
            raise Unusable(self, f"broken JSON, {problem}") from problem

    def document(self) -> dict[str, Any]:
        """The body of a 200 as a JSON object; NoAnswer for anything else."""
        if self.status != 200 or not isinstance(found := self.decoded(), dict):
            raise Unusable(self)
        return found


class Transport:
    """A pool of connections to one server; `url` may have a path, under which the server's routes lie."""

    def __init__(self, url: str, limits: Limits) -> None:
        self._limits = limits
        address = address_of(url)
        self._http = httpx.AsyncClient(
            base_url=address.url,
            auth=address.auth,
            params=address.query,
            timeout=_timeout(limits),
            limits=_pool(limits),
            # A proxy meant for the wide world must not stand before a server in the same rack.
            trust_env=False,
            verify=_trust(),
            headers={"Accept-Encoding": "identity", "User-Agent": "huajuan"},
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    async def get(self, path: str, params: Mapping[str, str] = NOTHING) -> Answer:
        return await self._whole("GET", path, self._limits.json_bytes_max, params=dict(params))

    async def post(self, path: str, body: object) -> Answer:
        return await self._whole("POST", path, self._limits.json_bytes_max, json=body)

    async def picture(self, params: Mapping[str, str]) -> Answer:
        """GET /view; TooLarge beyond `picture_bytes_max`. The caller bounds the time."""
        return await self._send("GET", "/view", self._limits.picture_bytes_max, params=dict(params))

    async def _whole(self, method: str, path: str, bytes_max: int, **request: Any) -> Answer:
        try:
            async with asyncio.timeout(self._limits.request_seconds_max):
                return await self._send(method, path, bytes_max, **request)
        except TimeoutError as problem:
            raise TookLong(f"{method} {path} took too long") from problem

    async def _send(self, method: str, path: str, bytes_max: int, **request: Any) -> Answer:
        try:
            async with self._http.stream(method, path, **request) as response:
                body = await _bounded_body(response, bytes_max)
        except NEVER_SENT as problem:
            raise NotSent(_described(problem)) from problem
        except httpx.TimeoutException as problem:
            raise TookLong(_described(problem)) from problem
        except (httpx.HTTPError, httpx.StreamError) as problem:
            raise NoAnswer(_described(problem)) from problem
        return _unless_broken(Answer(response.status_code, _media_type(response), body))


async def _bounded_body(response: httpx.Response, bytes_max: int) -> bytes:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > bytes_max:
            raise TooLarge(f"{response.url.path}: more than {bytes_max} bytes")
    return bytes(body)


def _unless_broken(answer: Answer) -> Answer:
    if answer.status in ENDED_WITH_ERROR:
        raise ServerError(answer)
    if answer.status >= 500:
        raise Unusable(answer)
    return answer


def _media_type(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


@cache
def _trust() -> ssl.SSLContext:
    """Made once: reading all certificates takes tens of milliseconds."""
    return ssl.create_default_context()


def _timeout(limits: Limits) -> httpx.Timeout:
    return httpx.Timeout(limits.read_seconds_max, connect=limits.connect_seconds_max)


def _pool(limits: Limits) -> httpx.Limits:
    return httpx.Limits(
        max_connections=limits.connections_max, keepalive_expiry=limits.idle_connection_seconds_max
    )


def _described(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}"
