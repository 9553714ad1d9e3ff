"""Start the demo painter: `python -m huajuan.demo_comfyui --port 0`."""

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
from huajuan.demo_comfyui.demo_server import Painter
from huajuan.demo_comfyui.faults import Faults

SHUTDOWN_SECONDS_MAX = 1
FRAME_BYTES_MAX = 16 * 1024 * 1024
NOTICE = "pictures come from a program, no model draws them"
log = logging.getLogger("demo painter")


class Server(uvicorn.Server):
    """A server whose signals are handled here, so that it ends with exit code 0 and cleans up."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or []:
            _announce(listening)

    def stop(self) -> None:
        self.should_exit = True


def server(painter: Painter) -> Server:
    """A uvicorn server for the painter; give it a bound socket."""
    config = uvicorn.Config(
        create_app(painter),
        lifespan="on",
        log_level="critical",
        # The real server never pings.
        ws_ping_interval=None,
        ws_max_size=FRAME_BYTES_MAX,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS_MAX,
    )
    return Server(config)


def listening_socket(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio switches Nagle's delay off, which costs 40 ms an answer else.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    listening.listen()
    return listening


async def serve(options: argparse.Namespace) -> None:
    """Serve until told to stop, by a signal or by the end of stdin."""
    # The port first: a painter that cannot have it must leave no folder behind.
    with listening_socket(options.host, options.port) as listening:
        running = server(Painter(step_seconds=options.step_seconds, faults=Faults(enabled=options.faults)))
        _stop_when_told(running, options)
        await running.serve([listening])


def _stop_when_told(running: Server, options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.stop)
    if options.exit_with_stdin:
        _watch_stdin(lambda: loop.call_soon_threadsafe(running.stop))


def _announce(listening: socket.socket) -> None:
    host, port = listening.getsockname()[:2]
    sys.stdout.write(json.dumps({"url": f"http://{host}:{port}"}) + "\n")
    sys.stdout.flush()
    log.warning("%s; listening on %s:%s", NOTICE, host, port)


def _watch_stdin(at_end: Callable[[], object]) -> None:
    """A parent that is killed outright closes the pipe: the one sign of its death that always comes."""

    def wait() -> None:
        # Not through sys.stdin: its lock would be held while the interpreter shuts down.
        while os.read(0, 4096):
            pass
        at_end()

    threading.Thread(target=wait, name="stdin", daemon=True).start()


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo painter", description=NOTICE)
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
