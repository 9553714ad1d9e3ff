"""uvicorn's HTTP protocol with limits on head, time, unsent replies and pipelined requests."""

import asyncio
from types import SimpleNamespace
from typing import Any

import httptools
import structlog
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from huajuan.server.connections import BYTES_A_SECOND_MIN, Connections, TransferRate, unacknowledged_bytes
from huajuan.server.request_checks import (
    BODY,
    HEAD,
    START,
    Reading,
    RequestBytes,
    RequestRejected,
    check_head,
    new_parser,
    origin_form,
    rejection_of,
    rejection_reply,
    without_upgrade,
)

# The parser gets at most this many bytes at a time, so limits are exact to within one slice.
SLICE_BYTES = 4_096
# Bytes and seconds that are read and discarded after a rejection: a reset would destroy the reply in transit.
AFTER_REJECTION = (1 << 20, 5.0)
# The same for a body that the application did not read.
UNREAD_BODY = (64 << 20, 30.0)
# At the connection limit, a request that takes longer to arrive is dropped in favour of a new connection.
SLOW_HEAD_SECONDS = 1.0
SLOW_BODY_SECONDS = 5.0
_logger = structlog.get_logger(__name__)


class HttpProtocol(HttpToolsProtocol):
    """One connection. The application handles the request `_active`; later ones wait in `pipeline`."""

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
        self._reply_transport: Any = None
        self._rejection: RequestRejected | None = None
        self._receive_rate: TransferRate | None = None
        self._send_rate: TransferRate | None = None
        self._buffered = b""
        self._discarded_bytes = 0
        self._discarded_max, self._linger_seconds_max = UNREAD_BODY
        self._was_used = self._ignores_input = self._is_lingering = False
        self._upgrading = self._keeps_alive = False

    # The connection.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = self.loop.time()
        # The transport of a request's cycle. It must not close the connection while the client still sends.
        self._reply_transport = SimpleNamespace(
            write=transport.write, is_closing=transport.is_closing, close=self._close_after_reply
        )
        if not self._connections.enter(self):
            self._reject(RequestRejected(503, "too many connections"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.leave(self)
        if self._active is not None:
            self._active.disconnected = True
            self._active.message_event.set()
        self._buffered, self._reply_transport, self._active = b"", None, None
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._send_rate = TransferRate(self.loop.time(), -unacknowledged_bytes(self.transport))
        self._connections.add_stalled(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._send_rate = None
        self._connections.remove_stalled(self)

    def shutdown(self) -> None:
        """Closes an idle connection now, any other after its reply."""
        if self._active is None:
            self.transport.close()
        else:
            self._active.keep_alive = False

    def discard(self) -> None:
        self.transport.abort()

    @property
    def unsent_bytes(self) -> int:
        return self.transport.get_write_buffer_size()

    # Incoming data.

    def data_received(self, data: bytes) -> None:
        if self._ignores_input:
            self._discard_input(len(data))
        elif self._buffered or self.pipeline:
            self._buffer(data)
        elif len(data) <= SLICE_BYTES:
            self._feed(data)
        else:
            self._feed_in_slices(data)

    def _feed_in_slices(self, data: bytes) -> None:
        view = memoryview(data)
        for at in range(0, len(data), SLICE_BYTES):
            if self._ignores_input or self.transport.is_closing():
                return
            if self.pipeline:
                self._buffer(data[at:])
                return
            self._feed(view[at : at + SLICE_BYTES])

    def _buffer(self, data: bytes) -> None:
        """Data behind a pipelined request is parsed after that request."""
        self._buffered += data
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
            self._reject(rejection_of(error))
        except RequestRejected as rejection:
            self._reject(rejection)
        else:
            if self._reading is BODY and self.cycle.response_complete:
                self._discard_input(len(data))

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Parses the request without `Upgrade`: the parser treats the data after one as another protocol."""
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
            raise RequestRejected(414, "the request line is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        # After the head these are trailers, which must not be treated as headers.
        if self._reading is not HEAD:
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if len(self.headers) > self._limits.headers_max:
            raise RequestRejected(431, "too many headers")
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
        self._discarded_bytes = 0
        super().on_headers_complete()
        self.cycle.transport = self._reply_transport
        if self.expect_100_continue:
            # A rejected client sends no body, and its next request must not be read as one.
            self._keeps_alive, self.cycle.keep_alive = self.cycle.keep_alive, False

    def on_body(self, body: bytes) -> None:
        self._bytes.add_content(len(body))
        if self.expect_100_continue:
            self._end_expectation()
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        self._reading = START
        self._bytes.end_message()
        if self.expect_100_continue:
            self._end_expectation()
        super().on_message_complete()
        if self._active is None and not self.pipeline:
            self._become_idle()

    def _end_expectation(self) -> None:
        self.expect_100_continue = False
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._keeps_alive

    # The replies.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._active = cycle
        self._receive_rate = None
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._active = None
        if self._is_lingering or self.transport.is_closing():
            return
        if self.pipeline:
            self._since = self.loop.time()
            self._start_asgi_task(*self.pipeline.pop())
        elif self._rejection is not None:
            self._reply(self._rejection)
            return
        if not self.pipeline:
            self._resume_reading()

    def _resume_reading(self) -> None:
        """Parses the buffered data: a body that is needed now, or more requests."""
        self.flow.resume_reading()
        buffered, self._buffered = self._buffered, b""
        if buffered:
            self._feed_in_slices(buffered)
        if self._active is None and not self._ignores_input:
            self._become_idle()

    def _become_idle(self) -> None:
        """No request is handled. The time limit of a partly received request begins now."""
        self._since = self.loop.time()
        if self._reading is START:
            self._connections.idle[self] = None

    def _close_after_reply(self) -> None:
        """After the last reply, or after the application failed during a reply."""
        if self._reading is START and not (self._buffered or self.pipeline or self._ignores_input):
            self.transport.close()
        else:
            self._linger(*UNREAD_BODY)

    def _reject(self, rejection: RequestRejected) -> None:
        """Sends the reply after those of earlier requests, and accepts no more requests."""
        if self._ignores_input or self.transport.is_closing():
            return
        self._ignores_input = True
        self._rejection = rejection
        self.flow.resume_reading()
        if self._reading is BODY:
            if self.cycle.response_complete:
                # The request already has its reply.
                self._linger(*AFTER_REJECTION)
                return
            self._abandon_body()
        if self._active is None and not self.pipeline:
            self._reply(rejection)

    def _abandon_body(self) -> None:
        """The application sees a disconnected client. A reply that has begun becomes the last one."""
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

    def _reply(self, rejection: RequestRejected) -> None:
        reply = rejection_reply(rejection, self.server_state.default_headers)
        self.transport.write(reply.content)
        if not rejection.is_overload:  # `Connections` logs these once a minute
            _logger.info(
                "request refused",
                status=rejection.status,
                reason=rejection.reason,
                client=self.client[0] if self.client else None,
                refused_id=reply.request_id,
            )
        self._linger(*AFTER_REJECTION)

    def _linger(self, bytes_max: int, seconds_max: float) -> None:
        """Closes the sending side and reads on for a while: a reset would destroy the reply in transit."""
        self._discarded_max, self._linger_seconds_max = bytes_max, seconds_max
        self._ignores_input = self._is_lingering = True
        self._discarded_bytes = 0
        self._since = self.loop.time()
        self._buffered = b""
        self.pipeline.clear()
        self._connections.idle.pop(self, None)
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _discard_input(self, count: int) -> None:
        self._discarded_bytes += count
        if self._discarded_bytes > self._discarded_max:
            self.transport.abort()

    # Time.

    def is_slow(self, now: float) -> bool:
        waited = now - self._since
        if self._active is None:
            return waited > SLOW_HEAD_SECONDS
        is_awaited = self._reading is BODY and not self._active.response_started
        return is_awaited and waited > SLOW_BODY_SECONDS + self._bytes.body / BYTES_A_SECOND_MIN

    def check_time_limits(self, now: float, elapsed: float) -> None:
        waited = now - self._since
        if self.transport.is_closing() and self._send_rate is None:
            self._send_rate = TransferRate(now, -unacknowledged_bytes(self.transport))
        if self._send_rate and self._has_stopped_reading(now):
            _logger.info("connection closed", reason="the client does not read", unsent=self.unsent_bytes)
            self.transport.abort()
        elif self.transport.is_closing():
            return
        elif self._is_lingering:
            if waited > self._linger_seconds_max:
                self.transport.abort()
        elif self._reading is BODY:
            self._check_body_time(now, elapsed)
        elif self._active is None:
            self._check_head_time(waited)

    def _has_stopped_reading(self, now: float) -> bool:
        unsent, seconds = unacknowledged_bytes(self.transport), self._limits.write_stall_seconds
        return self._send_rate is not None and self._send_rate.has_stopped(now, -unsent, seconds)

    def _check_head_time(self, waited: float) -> None:
        limits = self._limits
        if self._reading is HEAD:
            if waited > limits.head_seconds:
                self._reject(RequestRejected(408, "the request head takes too long"))
        elif waited > (limits.keep_alive_seconds if self._was_used else limits.head_seconds):
            self.transport.close()

    def _check_body_time(self, now: float, elapsed: float) -> None:
        cycle = self.cycle
        if cycle.response_complete:
            if now - self._since > self._linger_seconds_max:
                self.transport.abort()
        elif cycle is not self._active or cycle.response_started:
            return
        elif self._receive_rate is None:
            self._receive_rate = TransferRate(now, self._bytes.body)
        elif self.flow.read_paused or cycle.waiting_for_100_continue:
            # The client waits for the server.
            self._receive_rate.pause(elapsed)
        elif self._receive_rate.has_stopped(now, self._bytes.body, self._limits.body_seconds):
            self._reject(RequestRejected(408, "the request body takes too long"))
