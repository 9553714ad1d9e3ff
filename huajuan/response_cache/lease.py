"""The tenancy: for a few seconds at a time one server alone may change the read tables, and remember what it read."""

import asyncio
import time

import structlog
from psycopg import AsyncConnection, AsyncCursor

from huajuan.event_store.errors import LogError
from huajuan.postgres.statements import Statements
from huajuan.response_cache.versions import Changes

_TAKE = "SELECT operations.take_tenancy(%(tag)s, %(seconds)s)"
# Shared with all who fold: whoever takes a tenancy waits for them, and they for it.
_FOLD = b"SELECT operations.fold_beside(%b)"
_logger = structlog.get_logger(__name__)


class Tenancy:
    """One a worker. It is asked for only while somebody reads, `seconds` long, and again when a third has passed."""

    def __init__(self, statements: Statements, changes: Changes, seconds: float) -> None:
        self._statements = statements
        self._changes = changes
        self._seconds = seconds
        self._wanted = asyncio.Event()

    def want(self) -> None:
        """Somebody reads what could be remembered."""
        self._wanted.set()

    async def keep(self) -> None:
        """For ever."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._take()
            except LogError as error:
                _logger.warning("nothing is remembered", error=type(error).__name__)
            await asyncio.sleep(self._seconds / 3)

    async def _take(self) -> None:
        """Counted from before the question: the database counts from later on, so it ends later there."""
        began = time.monotonic_ns()
        values = {"tag": self._changes.tag, "seconds": self._seconds}
        ((epoch,),) = await self._statements.run(_TAKE, values)
        if epoch:
            self._changes.tenancy(epoch, began + int(self._seconds * 1e9))


async def ask_to_fold(connection: AsyncConnection, tag: str) -> AsyncCursor:
    """Its row tells whether another server has the tenancy. Until the transaction ends nobody else can take it."""
    return await connection.execute(_FOLD, (tag,), prepare=True, binary=True)
