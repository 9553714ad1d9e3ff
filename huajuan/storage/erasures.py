"""The erasures: of which erased people something may still be shown or stored."""

import asyncio
from contextlib import suppress
from typing import NamedTuple
from uuid import UUID

from huajuan.postgres.statements import Statements

_PUT = "INSERT INTO operations.erasures (account_id) VALUES (%(account)s) ON CONFLICT DO NOTHING"
_WAITING = """
SELECT account_id, extract(epoch FROM now() - asked_at)::float8 FROM operations.erasures
 ORDER BY asked_at LIMIT %(most)s
"""
_DONE = "DELETE FROM operations.erasures WHERE account_id = %(account)s"


class Waiting(NamedTuple):
    """An erasure that is not known to be complete."""

    account_id: UUID
    age_seconds: float


class Erasures:
    """Kept in the database, beside the log, so that whoever starts next goes on."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Somebody was erased here."""
        self._woken.set()

    async def wait(self, seconds_max: float) -> None:
        """Until somebody is erased here, or for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds_max):
                await self._woken.wait()
        self._woken.clear()

    async def put(self, account_id: UUID) -> None:
        """Before the fact is stated: else nobody would clear up after a crash."""
        await self._statements.run(_PUT, {"account": account_id})

    async def waiting(self, most: int) -> list[Waiting]:
        """The oldest first."""
        return [Waiting(*row) for row in await self._statements.run(_WAITING, {"most": most})]

    async def done(self, account_id: UUID) -> None:
        await self._statements.run(_DONE, {"account": account_id})
