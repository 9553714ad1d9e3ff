"""A load balancer: each new connection goes to the next server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import cycle

BYTES = 65536


@asynccontextmanager
async def balanced(*urls: str) -> AsyncIterator[str]:
    """The address of a load balancer before these servers."""
    turns = cycle(int(url.rpartition(":")[2]) for url in urls)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", next(turns))
        with suppress(OSError):
            await asyncio.gather(_pass_on(reader, ours), _pass_on(theirs, writer))

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(BYTES):
            writer.write(piece)
            await writer.drain()
    finally:
        writer.close()
