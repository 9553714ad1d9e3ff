"""Hashes and checks passwords with bcrypt, in a bounded number of threads outside the event loop."""

import base64
import hashlib

import bcrypt

from huajuan.domain.credentials import normalize_password, password_normal_forms
from huajuan.runtime.periodic import Threads


class Passwords:
    """`cost` is bcrypt's. Hashes in at most `threads_max` threads, with at most `waiting_max` waiting."""

    def __init__(self, cost: int, threads_max: int, waiting_max: int) -> None:
        self._cost = cost
        self._threads = Threads("bcrypt", threads_max, waiting_max)
        self._dummy_hash = bcrypt.hashpw(_digest("nobody's password"), bcrypt.gensalt(cost))

    async def hash(self, password: str) -> str:
        """The hash of the password's NFC form. Raises `TooManyWaiting`."""
        salted = await self._threads.run(
            lambda: bcrypt.hashpw(_digest(normalize_password(password)), bcrypt.gensalt(self._cost))
        )
        return salted.decode()

    async def match(self, password: str, password_hash: str | None) -> bool:
        """Whether they match. Without a hash the same work is done, so that the time reveals nothing.

        Older hashes are of the password as it was sent, so up to three normal forms are tried.
        """
        stored = password_hash.encode() if password_hash else self._dummy_hash
        forms = map(_digest, password_normal_forms(password))
        same = await self._threads.run(lambda: any(bcrypt.checkpw(form, stored) for form in forms))
        return same and password_hash is not None

    def close(self) -> None:
        self._threads.close()


def _digest(password: str) -> bytes:
    """44 bytes that depend on every character; bcrypt itself reads 72 bytes and stops at a NUL."""
    return base64.b64encode(hashlib.sha256(password.encode()).digest())
