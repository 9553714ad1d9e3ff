"""Starts the demo ComfyUI: `python -m huajuan.demo_comfyui --port 0`."""

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from huajuan.demo_comfyui.app import create_app
from huajuan.demo_comfyui.faults import Faults
from huajuan.demo_comfyui.server import DemoServer

SHUTDOWN_SECONDS_MAX = 1
FRAME_BYTES_MAX = 16 * 1024 * 1024
NOTICE = "pictures come from a program, no model draws them"
log = logging.getLogger("demo ComfyUI")


class DemoUvicorn(uvicorn.Server):
    """Signals are handled in this module, so that the process cleans up and exits with 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or []:
            _print_url(listening)

    def stop(self) -> None:
        self.should_exit = True


def uvicorn_server(demo: DemoServer) -> DemoUvicorn:
    """A uvicorn server, to be given a bound socket."""
    config = uvicorn.Config(
        create_app(demo),
        lifespan="on",
        log_level="critical",
        # The real server never pings.
        ws_ping_interval=None,
        ws_max_size=FRAME_BYTES_MAX,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS_MAX,
    )
    return DemoUvicorn(config)


def listening_socket(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With an explicit protocol asyncio sets TCP_NODELAY; otherwise a response takes 40 ms longer.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    listening.listen()
    return listening


async def serve(options: argparse.Namespace) -> None:
    """Serve until a signal, or until the end of stdin."""
    # The port first, so that a failure leaves no folder behind.
    with listening_socket(options.host, options.port) as listening:
        faults = Faults(enabled=options.faults)
        running = uvicorn_server(DemoServer(step_seconds=options.step_seconds, faults=faults))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, running.stop)
        if options.exit_with_stdin:
            _watch_stdin(lambda: loop.call_soon_threadsafe(running.stop))
        await running.serve([listening])


def _print_url(listening: socket.socket) -> None:
    host, port = listening.getsockname()[:2]
    sys.stdout.write(json.dumps({"url": f"http://{host}:{port}"}) + "\n")
    sys.stdout.flush()
    log.warning("%s; listening on %s:%s", NOTICE, host, port)


def _watch_stdin(at_end: Callable[[], object]) -> None:
    """The death of the parent process always closes the pipe, even after SIGKILL."""

    def wait() -> None:
        # Not through sys.stdin: its lock would be held while the interpreter shuts down.
        while os.read(0, 4096):
            pass
        at_end()

    threading.Thread(target=wait, name="stdin", daemon=True).start()


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo ComfyUI", description=NOTICE)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8188, help="0 takes a free one; the URL is printed")
    parser.add_argument("--step-seconds", type=float, default=0.0, help="slow every sampling step")
    parser.add_argument("--exit-with-stdin", action="store_true", help="stop when stdin reaches its end")
    parser.add_argument("--faults", action="store_true", help="let POST /demo/faults make it misbehave")
    return parser.parse_args(arguments)


def main() -> None:
    logging.basicConfig(stream=sys.stderr, format="%(name)s: %(message)s")
    asyncio.run(serve(options()))


if __name__ == "__main__":
    main()
