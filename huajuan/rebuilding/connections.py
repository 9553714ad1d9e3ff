"""The connections of a rebuild: no bound on a statement's time, and the server notices when we are gone."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import msgspec
import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format

# A waiting server looks this often whether anybody still wants the answer.
CHECK_MILLISECONDS = 1000


@contextmanager
def connection(dsn: str) -> Iterator[psycopg.Connection]:
    """Autocommits. What a crash of the server loses of new tables is lost with all of them."""
    options = (
        f"-c application_name=huajuan_rebuild -c client_connection_check_interval={CHECK_MILLISECONDS}"
        " -c synchronous_commit=off -c statement_timeout=0"
    )
    with psycopg.connect(dsn, autocommit=True, options=options) as opened:
        opened.adapters.register_loader("uuid", _FastUUID)
        yield opened


class _FastUUID(Loader):
    """msgspec makes a UUID of its bytes three times as fast as the class itself."""

    format = Format.BINARY

    def load(self, data: Buffer) -> UUID:
        return msgspec.convert(bytes(data), UUID)
