"""The comparator of our routes: bare Litestar handlers with the server's own uvicorn settings.

`python -m benchmarks.bare DSN PORT`: the replies are rows of `bench_replies`, which `running` creates.
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import uuid4

import psycopg
import uvicorn
from litestar import Litestar, Request, Response, get, post
from psycopg_pool import AsyncConnectionPool

from benchmarks.append_variants import INSERT, a_check_in, make_raw_table
from benchmarks.load import ROOT
from huajuan.postgres.connect import open_pool
from huajuan.settings import Settings
from tests.server.service import free_port

PATIENCE_SECONDS = 60
INSERTED = b'{"code":200,"success":true,"message":"inserted","score":100}'
_MAKE = "CREATE TABLE public.bench_replies (name text PRIMARY KEY, body bytea NOT NULL)"
_SELECT = b"SELECT body FROM public.bench_replies WHERE name = %s"
_REPLIES = "SELECT name, body FROM public.bench_replies"
DSN = "_HUAJUAN_BENCH_DSN"


@contextmanager
def running(dsn: str, replies: Mapping[str, bytes]) -> Iterator[str]:
    """The address of a server with `GET /bytes/NAME`, `GET /select/NAME` and `POST /insert`.

    The database has our schema; the table of the inserts has the log's columns.
    """
    make_raw_table(dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute(_MAKE)
        connection.cursor().executemany(
            "INSERT INTO public.bench_replies VALUES (%s, %s)", list(replies.items())
        )
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.bare", str(port)]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, DSN: dsn}) as process:
        try:
            _wait_until_listening(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def application() -> Litestar:
    """The ASGI application; its pool has our default size."""
    dsn = os.environ[DSN]
    with psycopg.connect(dsn) as connection:
        replies: dict[str, bytes] = dict(connection.execute(_REPLIES).fetchall())
    routes: list[Any] = [insert]
    for name, body in replies.items():
        routes += [_bytes_of(name, body), _select_of(name)]
    return Litestar(route_handlers=routes, lifespan=[lambda app: _pool_open(app, dsn)], logging_config=None)


@asynccontextmanager
async def _pool_open(app: Litestar, dsn: str) -> AsyncIterator[None]:
    async with open_pool(dsn, Settings().connections_max) as pool:
        app.state.pool = pool
        yield


def _bytes_of(name: str, body: bytes) -> Any:
    @get(f"/bytes/{name}")
    async def same_bytes() -> Response[bytes]:
        return Response(body, media_type="application/json")

    return same_bytes


def _select_of(name: str) -> Any:
    @get(f"/select/{name}")
    async def selected(request: Request[Any, Any, Any]) -> Response[bytes]:
        pool: AsyncConnectionPool = request.app.state.pool
        async with pool.connection() as connection:
            cursor = await connection.execute(_SELECT, (name,), prepare=True, binary=True)
            row = await cursor.fetchone()
        assert row
        return Response(row[0], media_type="application/json")

    return selected


_sample = a_check_in()


@post("/insert", status_code=200)
async def insert(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Inserts one row with the log's columns and indexes, and commits."""
    await request.body()
    pool: AsyncConnectionPool = request.app.state.pool
    async with pool.connection() as connection:
        await connection.execute(INSERT, (uuid4(), 1, _sample.topic, _sample.state), prepare=True)
    return Response(INSERTED, media_type="application/json")


def _wait_until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, "the bare server failed, for the reason above"
            assert time.monotonic() < deadline, "the bare server does not listen"
            time.sleep(0.05)
        else:
            return


def _serve(port: int) -> None:
    """With the same settings as `huajuan/server/uvicorn_runner.py`."""
    config = uvicorn.Config(
        "benchmarks.bare:application",
        factory=True,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
    )
    uvicorn.Server(config).run()


if __name__ == "__main__":
    try:
        _serve(int(sys.argv[1]))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
