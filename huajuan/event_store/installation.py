"""What makes this installation itself: the key under which stream ids are cut."""

from psycopg import AsyncConnection

from huajuan.event_store.streams import StreamIds

_SELECT = "SELECT stream_key FROM operations.installation"


async def stream_ids(connection: AsyncConnection) -> StreamIds:
    row = await (await connection.execute(_SELECT)).fetchone()
    if row is None:
        raise RuntimeError("the log's schema has not been made")
    return StreamIds(row[0])
