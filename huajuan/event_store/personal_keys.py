"""The personal keys: made once per account, cached, deleted by erasure.

Encrypts personal fields with them.
"""

import os
from binascii import a2b_base64, b2a_base64
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from huajuan.postgres.retry import retry_query

NONCE_BYTES = 12
# Replaces a text that cannot be decrypted any more.
ERASED = "(erased)"
_SELECT = "SELECT subject_id, key FROM operations.personal_keys WHERE subject_id = ANY(%b)"
_INSERT = "INSERT INTO operations.personal_keys (subject_id, key) VALUES (%b, %b) ON CONFLICT DO NOTHING"


class KeyRing:
    """Call `load` first, then read `[subject]`: an AES key, or `None` for an erased person."""

    def __init__(self, pool: AsyncConnectionPool, cached_max: int, outage_seconds_max: float) -> None:
        self._pool = pool
        self._outage_seconds_max = outage_seconds_max
        self._cached_max = cached_max
        self._keys: OrderedDict[UUID, AESGCM | None] = OrderedDict()

    def __getitem__(self, subject: UUID) -> AESGCM | None:
        return self._keys[subject]

    async def load(self, subjects: Iterable[UUID], connection: AsyncConnection | None = None) -> None:
        """Loads the keys of these accounts. An account without a row counts as erased.

        A caller that holds a connection must pass it. Else callers that each hold one and wait for another
        could deadlock on the pool.
        """
        wanted = list(set(subjects))
        if missing := self._missing(wanted):
            await self._get(missing, connection)
        # Other tasks may have evicted some of the rest meanwhile. Keys that are fetched at once are kept
        # together.
        if missing and self._missing(wanted):
            await self._get(wanted, connection)

    async def make(self, subject: UUID) -> None:
        """Inserts a key for a new account. An existing key or the row of an erased person is not changed."""
        await retry_query(lambda: self._insert(subject), self._outage_seconds_max)
        self._keys.pop(subject, None)
        await self.load([subject])

    def erase(self, subject: UUID) -> None:
        """Marks the key as erased, also for a task that is fetching it at this moment."""
        self._keys[subject] = None

    def clear(self) -> None:
        self._keys.clear()

    async def _get(self, wanted: list[UUID], connection: AsyncConnection | None) -> None:
        if connection:
            self._add(wanted, await self._fetch(connection, wanted))
        else:
            fetched = retry_query(lambda: self._fetch_with_pool(wanted), self._outage_seconds_max)
            self._add(wanted, await fetched)

    def _missing(self, subjects: list[UUID]) -> list[UUID]:
        missing = []
        for subject in subjects:
            if subject in self._keys:
                self._keys.move_to_end(subject)
            else:
                missing.append(subject)
        return missing

    async def _insert(self, subject: UUID) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(_INSERT, (subject, AESGCM.generate_key(256)))

    def _add(self, wanted: list[UUID], found: dict[UUID, AESGCM | None]) -> None:
        """Exceeds the bound only while more keys than that are wanted at once."""
        for subject in wanted:
            self._keys.setdefault(subject, found.get(subject))
            self._keys.move_to_end(subject)
        while len(self._keys) > max(self._cached_max, len(wanted)):
            self._keys.popitem(last=False)

    async def _fetch_with_pool(self, subjects: list[UUID]) -> dict[UUID, AESGCM | None]:
        async with self._pool.connection() as connection:
            return await self._fetch(connection, subjects)

    async def _fetch(self, connection: AsyncConnection, subjects: list[UUID]) -> dict[UUID, AESGCM | None]:
        cursor = await connection.execute(_SELECT, (subjects,), prepare=True, binary=True)
        return {subject: key and AESGCM(key) for subject, key in await cursor.fetchall()}


def encrypt_field(key: AESGCM, data: bytes, value: Any) -> str:
    """Encrypts a value as JSON with AES-GCM. `data` is the associated data."""
    nonce = os.urandom(NONCE_BYTES)
    return b2a_base64(nonce + key.encrypt(nonce, msgspec.json.encode(value), data), newline=False).decode()


def decrypt_field(key: AESGCM, data: bytes, encrypted: str, decode: Callable[[bytes], Any]) -> Any:
    """Raises `InvalidTag` where key or associated data differ from those of the encryption."""
    raw = a2b_base64(encrypted)
    return decode(key.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], data))


def associated_data(stream: UUID, version: int, field: str) -> bytes:
    """Binds an encrypted value to its event and field: it cannot be decrypted in another place."""
    return b"%b%d%b" % (stream.bytes, version, field.encode())
