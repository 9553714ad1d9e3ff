"""The key ring: personal keys by account, made once, cached, and gone for good once erased."""

from collections import OrderedDict
from collections.abc import Iterable
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from huajuan.event_store.encryption import new_key
from huajuan.postgres.retry import through_outages

_SELECT = "SELECT subject_id, key FROM operations.personal_keys WHERE subject_id = ANY(%b)"
_INSERT = "INSERT INTO operations.personal_keys (subject_id, key) VALUES (%b, %b) ON CONFLICT DO NOTHING"


class KeyRing:
    """Fetch with `need`, then read with `[subject]`: an AES key, or `None` for an erased person."""

    def __init__(self, pool: AsyncConnectionPool, cached_max: int, outage_seconds_max: float) -> None:
        self._pool = pool
        self._outage_seconds_max = outage_seconds_max
        self._cached_max = cached_max
        self._keys: OrderedDict[UUID, AESGCM | None] = OrderedDict()

    def __getitem__(self, subject: UUID) -> AESGCM | None:
        return self._keys[subject]

    async def need(self, subjects: Iterable[UUID], connection: AsyncConnection | None = None) -> None:
        """Make the keys of these people readable; those without a row count as erased.

        Whoever holds a connection must lend it: callers that each hold one and wait for another would
        wait for each other for ever.
        """
        wanted = list(set(subjects))
        if missing := self._touch(wanted):
            await self._get(missing, connection)
        # Others may have crowded some of the rest out meanwhile; what is got at once stays together.
        if missing and self._touch(wanted):
            await self._get(wanted, connection)

    async def make(self, subject: UUID) -> None:
        """Give a new person a key. An existing key, or an erased person's tombstone, stays as it is."""
        await through_outages(lambda: self._insert(subject), self._outage_seconds_max)
        self.forget(subject)
        await self.need([subject])

    def forget(self, subject: UUID) -> None:
        self._keys.pop(subject, None)

    def erase(self, subject: UUID) -> None:
        """An erased person's key is never read again, not even by whoever is fetching it just now."""
        self._keys[subject] = None

    def forget_all(self) -> None:
        self._keys.clear()

    async def _get(self, wanted: list[UUID], connection: AsyncConnection | None) -> None:
        if connection:
            self._add(wanted, await self._fetch(connection, wanted))
        else:
            fetched = through_outages(lambda: self._fetch_alone(wanted), self._outage_seconds_max)
            self._add(wanted, await fetched)

    def _touch(self, subjects: list[UUID]) -> list[UUID]:
        missing = []
        for subject in subjects:
            if subject in self._keys:
                self._keys.move_to_end(subject)
            else:
                missing.append(subject)
        return missing

    async def _insert(self, subject: UUID) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(_INSERT, (subject, new_key()))

    def _add(self, wanted: list[UUID], found: dict[UUID, AESGCM | None]) -> None:
        """More than the bound for a moment, if so many are wanted at once."""
        for subject in wanted:
            self._keys.setdefault(subject, found.get(subject))
            self._keys.move_to_end(subject)
        while len(self._keys) > max(self._cached_max, len(wanted)):
            self._keys.popitem(last=False)

    async def _fetch_alone(self, subjects: list[UUID]) -> dict[UUID, AESGCM | None]:
        async with self._pool.connection() as connection:
            return await self._fetch(connection, subjects)

    async def _fetch(self, connection: AsyncConnection, subjects: list[UUID]) -> dict[UUID, AESGCM | None]:
        cursor = await connection.execute(_SELECT, (subjects,), prepare=True, binary=True)
        return {subject: key and AESGCM(key) for subject, key in await cursor.fetchall()}
