"""What makes this installation itself: the key under which stream ids are cut."""

from psycopg import AsyncConnection, Connection

from huajuan.event_store.stream_ids import StreamIds

_SELECT = "SELECT stream_key FROM operations.installation"


async def stream_ids(connection: AsyncConnection) -> StreamIds:
    return _cut_by(await (await connection.execute(_SELECT)).fetchone())


def stream_ids_at_once(connection: Connection) -> StreamIds:
    """The same for those who wait for a database where they stand, as a rebuild does."""
    return _cut_by(connection.execute(_SELECT).fetchone())


def _cut_by(row: tuple[bytes] | None) -> StreamIds:
    if row is None:
        raise RuntimeError("the log's schema has not been made")
    return StreamIds(row[0])
