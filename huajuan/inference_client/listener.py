"""The one websocket of a client: reads without pause, reconnects patiently, and is never relied upon."""

import asyncio
import contextlib

import msgspec
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidURI, WebSocketException

from huajuan.inference_client.address import address_of
from huajuan.inference_client.limits import Limits
from huajuan.inference_client.watches import Event, Watches

# It has to be the first message of a connection; sent later the server ignores it.
GREETING = '{"type": "feature_flags", "data": {"supports_preview_metadata": true}}'

log = structlog.get_logger(__name__)


class Listener:
    """Passes events on to the watches. Starts at the first `wake`, rests while nobody watches."""

    def __init__(self, url: str, watches: Watches, limits: Limits) -> None:
        address = address_of(url)
        self._url = f"{address.url}?{address.query}"
        self._headers = address.headers
        self._watches = watches
        self._limits = limits
        self._wanted = asyncio.Event()
        self._attempted = asyncio.Event()
        self._socket: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._unheard_jobs = 0

    @property
    def is_connected(self) -> bool:
        return self._socket is not None

    def wake(self) -> None:
        """Somebody watches now: open the socket if it is not open."""
        self._wanted.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="ComfyUI socket")

    async def head_start(self) -> None:
        """Wait, briefly, until the first attempt to connect has ended either way."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.socket_head_start_seconds_max):
                await self._attempted.wait()

    def renew(self) -> None:
        """Close the socket, which makes the reader open another: the cure for a connection gone deaf."""
        if self._socket is not None and self._closing is None:
            log.info("the ComfyUI socket is silent and is opened anew")
            self._closing = asyncio.create_task(self._socket.close(), name="ComfyUI socket closing")

    def judge_hearing(self, heard: bool) -> None:
        """After a job whose events should have come: several unheard ones in a row mean that we are deaf."""
        self._unheard_jobs = 0 if heard else self._unheard_jobs + 1
        if self._unheard_jobs >= self._limits.socket_unheard_jobs_max:
            self._unheard_jobs = 0
            self.renew()

    async def aclose(self) -> None:
        for task in filter(None, (self._task, self._closing)):
            task.cancel()
            await asyncio.wait({task})
        self._task = self._closing = None

    async def _run(self) -> None:
        pause = self._limits.socket_retry_seconds_min
        while True:
            await self._wanted.wait()
            was_connected = await self._listen_once()
            self._rest_if_unwatched()
            pause = self._next_pause(pause, was_connected)
            await asyncio.sleep(pause)

    def _next_pause(self, pause: float, was_connected: bool) -> float:
        # A connection which broke at once doubles the pause too, or a server that accepts and drops
        # would be asked without end.
        least, most = self._limits.socket_retry_seconds_min, self._limits.socket_retry_seconds_max
        return least if was_connected else min(most, pause * 2)

    def _rest_if_unwatched(self) -> None:
        if not self._watches:
            self._wanted.clear()

    async def _listen_once(self) -> bool:
        """True when the connection lasted long enough to have been of use."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with self._connection() as socket:
                await self._greet(socket)
                await self._drain(socket)
        except (OSError, TimeoutError, WebSocketException, InvalidURI) as problem:
            # This one repeats the address, which may have a token.
            said = "" if isinstance(problem, InvalidURI) else f": {problem}"
            log.info("the ComfyUI socket is not connected", problem=f"{type(problem).__name__}{said}")
        finally:
            self._socket = self._closing = None
            self._attempted.set()
        return loop.time() - started > self._limits.socket_useful_seconds

    async def _greet(self, socket: ClientConnection) -> None:
        await socket.send(GREETING)
        self._socket = socket
        self._attempted.set()

    async def _drain(self, socket: ClientConnection) -> None:
        """Read everything at once: a client that reads slowly silences the server's other clients as well."""
        async for frame in socket:
            if isinstance(frame, str) and len(frame) <= self._limits.socket_event_bytes_max:
                self._pass_on(frame)

    def _pass_on(self, frame: str) -> None:
        with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError, RecursionError):
            self._watches.note(msgspec.json.decode(frame, type=Event))

    def _connection(self) -> connect:
        limits = self._limits
        return connect(
            self._url,
            additional_headers=self._headers,
            open_timeout=limits.socket_open_seconds_max,
            close_timeout=limits.socket_close_seconds_max,
            ping_interval=limits.socket_ping_seconds,
            ping_timeout=limits.socket_pong_seconds_max,
            max_size=limits.socket_frame_bytes_max,
            compression=None,
            proxy=None,
        )
