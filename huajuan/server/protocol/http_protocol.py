"""uvicorn's HTTP protocol with bounds: on header bytes, request line, time, unread replies and pipelined requests."""

import asyncio
from types import SimpleNamespace
from typing import Any

import httptools
import structlog
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from huajuan.http.limits import BYTES_A_SECOND_MIN
from huajuan.server.protocol.connections import Connections
from huajuan.server.protocol.replies import (
    Refusal,
    RequestRefused,
    headers_too_large,
    line_too_long,
    refusal_of,
    timed_out,
    too_many_connections,
)
from huajuan.server.protocol.request_bytes import BODY, HEAD, START, Reading, RequestBytes
from huajuan.server.protocol.request_head import check_head, origin_form, refused_by, without_upgrade
from huajuan.server.protocol.transfer_rate import Progress, unread_bytes

# The parser gets no more at a time, so that limits are exact to within this and few pipelined requests are begun.
SLICE_BYTES = 4_096
# Bytes and seconds that are read and dropped behind a refusal, so that no reset destroys the reply.
AFTER_REFUSAL = (1 << 20, 5.0)
# The same for a body that the application left unread.
UNREAD_BODY = (64 << 20, 30.0)
# A request that takes longer to arrive loses its place when places are short.
SLOW_HEAD_SECONDS = 1.0
SLOW_BODY_SECONDS = 5.0
_logger = structlog.get_logger(__name__)


class HttpProtocol(HttpToolsProtocol):
    """One connection. `_active` is the request that the application works on; others are behind it in `pipeline`."""

    url = b""

    def __init__(
        self, connections: Connections, config: Config, server_state: ServerState, app_state: dict[str, Any]
    ) -> None:
        super().__init__(config, server_state, app_state, connections.loop)
        self._connections = connections
        self._limits = connections.limits
        self._bytes = RequestBytes(connections.limits)
        self._reading: Reading = START
        self._since = 0.0
        self._active: RequestResponseCycle | None = None
        self._outlet: Any = None
        self._pending: RequestRefused | None = None
        self._arriving: Progress | None = None
        self._leaving: Progress | None = None
        self._held = b""
        self._dropped_bytes = 0
        self._dropped_max, self._lingers_max = UNREAD_BODY
        self._was_used = self._is_deaf = self._lingers = False
        self._upgrading = self._keeps_alive = False

    # The connection.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = self.loop.time()
        # What a request's cycle writes to. It must not close the connection while the client still sends.
        self._outlet = SimpleNamespace(
            write=transport.write, is_closing=transport.is_closing, close=self._close_after_reply
        )
        if not self._connections.enter(self):
            self._refuse(too_many_connections())

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.leave(self)
        if self._active is not None:
            self._active.disconnected = True
            self._active.message_event.set()
        self._held, self._outlet, self._active = b"", None, None
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._leaving = Progress(self.loop.time(), -unread_bytes(self.transport))
        self._connections.stalls(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._leaving = None
        self._connections.reads_again(self)

    def shutdown(self) -> None:
        """The server stops: what is not being answered ends now, the rest behind its reply."""
        if self._active is None:
            self.transport.close()
        else:
            self._active.keep_alive = False

    def discard(self) -> None:
        self.transport.abort()

    @property
    def unsent_bytes(self) -> int:
        return self.transport.get_write_buffer_size()

    # What arrives.

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            self._drop(len(data))
        elif self._held or self.pipeline:
            self._hold(data)
        elif len(data) <= SLICE_BYTES:
            self._feed(data)
        else:
            self._feed_in_slices(data)

    def _feed_in_slices(self, data: bytes) -> None:
        view = memoryview(data)
        for at in range(0, len(data), SLICE_BYTES):
            if self._is_deaf or self.transport.is_closing():
                return
            if self.pipeline:
                self._hold(data[at:])
                return
            self._feed(view[at : at + SLICE_BYTES])

    def _hold(self, data: bytes) -> None:
        """Requests behind one that waits for its turn are parsed when it has had it."""
        self._held += data
        self.flow.pause_reading()

    def _feed(self, data: bytes | memoryview) -> None:
        began_in = self._reading
        self._bytes.begin_slice(len(data))
        try:
            self.parser.feed_data(data)
            self._bytes.end_slice(began_in, self._reading, len(self.url))
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(bytes(data[upgrade.args[0] :]))
        except httptools.HttpParserError as error:
            self._refuse(refused_by(error))
        except RequestRefused as refused:
            self._refuse(refused)
        else:
            if self._reading is BODY and self.cycle.response_complete:
                self._drop(len(data))

    def _ignore_upgrade(self, rest: bytes) -> None:
        """The parser takes what follows an upgrade for another protocol; a request that asked in vain goes on."""
        self._upgrading = False
        head = without_upgrade(self.parser.get_method(), self.url, self.headers)
        self.parser = new_parser(self)
        self._bytes.begin_head()
        self._feed_in_slices(head + rest)

    # The parser's callbacks.

    def on_message_begin(self) -> None:
        self._reading = HEAD
        self._was_used = True
        if self._active is None:
            self._connections.idle.pop(self, None)
            self._since = self.loop.time()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > self._limits.request_line_bytes_max:
            raise line_too_long()

    def on_header(self, name: bytes, value: bytes) -> None:
        # Behind the head these are trailers, which must not pass for headers.
        if self._reading is not HEAD:
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if len(self.headers) > self._limits.headers_max:
            raise headers_too_large("too many headers")
        self._bytes.check_headers(self.headers)
        method = self.parser.get_method()
        check_head(method, self.parser.get_http_version(), self.headers)
        if not self.url.startswith(b"/"):
            self.url = origin_form(self.url, method)
        if self.parser.should_upgrade():
            self._upgrading = True
            return
        self._reading = BODY
        self._bytes.begin_body()
        self._dropped_bytes = 0
        super().on_headers_complete()
        self.cycle.transport = self._outlet
        if self.expect_100_continue:
            # A client that is refused sends no body, and what it sends next must not be taken for one.
            self._keeps_alive, self.cycle.keep_alive = self.cycle.keep_alive, False

    def on_body(self, body: bytes) -> None:
        self._bytes.add_content(len(body))
        if self.expect_100_continue:
            self._expect_no_more()
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        self._reading = START
        self._bytes.end_message()
        if self.expect_100_continue:
            self._expect_no_more()
        super().on_message_complete()
        if self._active is None and not self.pipeline:
            self._rest()

    def _expect_no_more(self) -> None:
        self.expect_100_continue = False
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._keeps_alive

    # The replies.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._active = cycle
        self._arriving = None
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._active = None
        if self._lingers or self.transport.is_closing():
            return
        if self.pipeline:
            self._since = self.loop.time()
            self._start_asgi_task(*self.pipeline.pop())
        elif self._pending is not None:
            self._reply(self._pending)
            return
        if not self.pipeline:
            self._go_on()

    def _go_on(self) -> None:
        """With what was held back: a body that is needed now, or more requests."""
        self.flow.resume_reading()
        held, self._held = self._held, b""
        if held:
            self._feed_in_slices(held)
        if self._active is None and not self._is_deaf:
            self._rest()

    def _rest(self) -> None:
        """Nothing is being answered. A request that has begun to arrive has its time from here on."""
        self._since = self.loop.time()
        if self._reading is START:
            self._connections.idle[self] = None

    def _close_after_reply(self) -> None:
        """The reply was the last one, or the application failed in the middle of it."""
        if self._reading is START and not (self._held or self.pipeline or self._is_deaf):
            self.transport.close()
        else:
            self._linger(*UNREAD_BODY)

    def _refuse(self, refused: RequestRefused) -> None:
        """Reply, behind the replies that come before, and take no more requests."""
        if self._is_deaf or self.transport.is_closing():
            return
        self._is_deaf = True
        self._pending = refused
        self.flow.resume_reading()
        if self._reading is BODY:
            if self.cycle.response_complete:
                # It has its reply.
                self._linger(*AFTER_REFUSAL)
                return
            self._give_up_body()
        if self._active is None and not self.pipeline:
            self._reply(refused)

    def _give_up_body(self) -> None:
        """To the application the client has gone. A reply that has begun is the last one."""
        cycle = self.cycle
        if cycle is not self._active:
            if self.pipeline:
                self.pipeline.popleft()
        elif cycle.response_started:
            cycle.keep_alive = False
        else:
            self._active = None
            cycle.disconnected = True
            cycle.message_event.set()

    def _reply(self, refused: RequestRefused) -> None:
        refusal = refusal_of(refused, self.server_state.default_headers)
        self.transport.write(refusal.content)
        if not refused.is_for_want_of_place:  # of these one line in a while is enough
            self._log(refused, refusal)
        self._linger(*AFTER_REFUSAL)

    def _log(self, refused: RequestRefused, refusal: Refusal) -> None:
        client = self.client[0] if self.client else None
        _logger.info(
            "request refused",
            status=refusal.status,
            reason=refused.reason,
            client=client,
            refused_id=refusal.request_id,
        )

    def _linger(self, bytes_max: int, seconds_max: float) -> None:
        """Send the end of the reply, and read on for a while, for a reset would destroy it on its way."""
        self._dropped_max, self._lingers_max = bytes_max, seconds_max
        self._is_deaf = self._lingers = True
        self._dropped_bytes = 0
        self._since = self.loop.time()
        self._held = b""
        self.pipeline.clear()
        self._connections.idle.pop(self, None)
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _drop(self, count: int) -> None:
        self._dropped_bytes += count
        if self._dropped_bytes > self._dropped_max:
            self.transport.abort()

    # Time.

    def is_slow(self, now: float) -> bool:
        waited = now - self._since
        if self._active is None:
            return waited > SLOW_HEAD_SECONDS
        is_awaited = self._reading is BODY and not self._active.response_started
        return is_awaited and waited > SLOW_BODY_SECONDS + self._bytes.body / BYTES_A_SECOND_MIN

    def look(self, now: float, elapsed: float) -> None:
        waited = now - self._since
        if self.transport.is_closing() and self._leaving is None:
            self._leaving = Progress(now, -unread_bytes(self.transport))
        if self._leaving and self._has_stopped_reading(self._leaving, now):
            _logger.info("connection closed", reason="the client does not read", unsent=self.unsent_bytes)
            self.transport.abort()
        elif self.transport.is_closing():
            return
        elif self._lingers:
            if waited > self._lingers_max:
                self.transport.abort()
        elif self._reading is BODY:
            self._look_at_body(now, elapsed)
        elif self._active is None:
            self._look_at_head(waited)

    def _look_at_head(self, waited: float) -> None:
        limits = self._limits
        if self._reading is HEAD:
            if waited > limits.head_seconds:
                self._refuse(timed_out("the request head takes too long"))
        elif waited > (limits.keep_alive_seconds if self._was_used else limits.head_seconds):
            self.transport.close()

    def _has_stopped_reading(self, leaving: Progress, now: float) -> bool:
        return leaving.has_stopped(now, -unread_bytes(self.transport), self._limits.write_stall_seconds)

    def _look_at_body(self, now: float, elapsed: float) -> None:
        cycle = self.cycle
        if cycle.response_complete:
            if now - self._since > self._lingers_max:
                self.transport.abort()
        elif cycle is not self._active or cycle.response_started:
            return
        elif self._arriving is None:
            self._arriving = Progress(now, self._bytes.body)
        elif self.flow.read_paused or cycle.waiting_for_100_continue:
            # The client waits for us.
            self._arriving.pause(elapsed)
        elif self._arriving.has_stopped(now, self._bytes.body, self._limits.body_seconds):
            self._refuse(timed_out("the request body takes too long"))


def new_parser(protocol: HttpProtocol) -> httptools.HttpRequestParser:
    """As uvicorn makes its own."""
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
