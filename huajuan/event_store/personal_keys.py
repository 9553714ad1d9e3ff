"""The personal keys: made once per account, cached, deleted by erasure; they encrypt personal fields."""

import os
from binascii import a2b_base64, b2a_base64
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg import AsyncConnection

from huajuan.postgres.statements import Statements

NONCE_BYTES = 12
# Replaces a text that cannot be decrypted any more.
ERASED = "(erased)"
_SELECT = "SELECT subject_id, key FROM operations.personal_keys WHERE subject_id = ANY(%b)"
_INSERT = "INSERT INTO operations.personal_keys (subject_id, key) VALUES (%b, %b) ON CONFLICT DO NOTHING"


class KeyRing:
    """Call `load` first, then read `[subject]`: an AES key, or `None` for an erased person."""

    def __init__(self, statements: Statements, cached_max: int) -> None:
        self._statements = statements
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
            await self._fetch(missing, connection)
            # Other tasks may have evicted some of the rest meanwhile. Keys that are fetched at once are kept
            # together.
            if self._missing(wanted):
                await self._fetch(wanted, connection)

    async def make(self, subject: UUID) -> None:
        """Inserts a key for a new account. An existing key or the row of an erased person is not changed."""
        await self._statements.run(_INSERT, (subject, AESGCM.generate_key(256)))
        self._keys.pop(subject, None)
        await self.load([subject])

    def erase(self, subject: UUID) -> None:
        """Marks the key as erased, also for a task that is fetching it at this moment."""
        self._keys[subject] = None

    def clear(self) -> None:
        self._keys.clear()

    def _missing(self, subjects: list[UUID]) -> list[UUID]:
        for known in self._keys.keys() & subjects:
            self._keys.move_to_end(known)
        return [subject for subject in subjects if subject not in self._keys]

    async def _fetch(self, wanted: list[UUID], connection: AsyncConnection | None) -> None:
        """Exceeds the bound only while more keys than that are wanted at once."""
        if connection:
            cursor = await connection.execute(_SELECT, (wanted,), prepare=True, binary=True)
            rows = await cursor.fetchall()
        else:
            rows = await self._statements.run(_SELECT, (wanted,))
        found: dict[UUID, bytes | None] = dict(rows)
        for subject in wanted:
            key = found.get(subject)
            self._keys.setdefault(subject, AESGCM(key) if key else None)
            self._keys.move_to_end(subject)
        while len(self._keys) > max(self._cached_max, len(wanted)):
            self._keys.popitem(last=False)


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
