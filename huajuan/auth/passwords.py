"""Hashes and checks passwords with bcrypt, off the event loop, in a bounded number of threads."""

import base64
import hashlib

import bcrypt

from huajuan.domain.credentials import spell_password, spellings_of_password
from huajuan.runtime.threads import Threads


class Passwords:
    """`cost` is bcrypt's; at most `threads_max` passwords are hashed and `waiting_max` wait."""

    def __init__(self, cost: int, threads_max: int, waiting_max: int) -> None:
        self._cost = cost
        self._threads = Threads("bcrypt", threads_max, waiting_max)
        self._nobodys = bcrypt.hashpw(_digest("nobody's password"), bcrypt.gensalt(cost))

    async def hash(self, password: str) -> str:
        """Of the NFC form. Raises `TooManyWaiting`."""
        salted = await self._threads.run(
            lambda: bcrypt.hashpw(_digest(spell_password(password)), bcrypt.gensalt(self._cost))
        )
        return salted.decode()

    async def match(self, password: str, password_hash: str | None) -> bool:
        """Whether they match. Without a hash the same work is done, so that time tells nothing.

        Hashes from before NFC was the rule are of the password as it was sent, so up to three spellings are tried.
        """
        known = password_hash.encode() if password_hash else self._nobodys
        same = await self._threads.run(lambda: _matches_in_some_spelling(password, known))
        return same and password_hash is not None

    def close(self) -> None:
        self._threads.close()


def _matches_in_some_spelling(password: str, known: bytes) -> bool:
    return any(bcrypt.checkpw(_digest(spelling), known) for spelling in spellings_of_password(password))


def _digest(password: str) -> bytes:
    """44 bytes in which every character counts; bcrypt itself reads 72 bytes and stops at a NUL."""
    return base64.b64encode(hashlib.sha256(password.encode()).digest())
