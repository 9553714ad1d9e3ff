"""Hashes and checks passwords with bcrypt, off the event loop, in a bounded number of threads."""

import asyncio
import base64
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import bcrypt

T = TypeVar("T")


class TooManyLogins(Exception):
    """So many passwords are waiting to be hashed that one more would wait too long."""


class Passwords:
    """`cost` is bcrypt's; at most `threads_max` passwords are hashed and `waiting_max` wait."""

    def __init__(self, cost: int, threads_max: int, waiting_max: int) -> None:
        self._cost = cost
        self._room = threads_max + waiting_max
        self._threads = ThreadPoolExecutor(threads_max, thread_name_prefix="bcrypt")
        self._nobodys = bcrypt.hashpw(_digest("nobody's password"), bcrypt.gensalt(cost))

    async def hash(self, password: str) -> str:
        salted = await self._in_thread(lambda: bcrypt.hashpw(_digest(password), bcrypt.gensalt(self._cost)))
        return salted.decode()

    async def match(self, password: str, password_hash: str | None) -> bool:
        """Whether they match. Without a hash the same work is done, so that time tells nothing."""
        known = password_hash.encode() if password_hash else self._nobodys
        same = await self._in_thread(lambda: bcrypt.checkpw(_digest(password), known))
        return same and password_hash is not None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._room <= 0:
            raise TooManyLogins
        self._room -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._room += 1


def _digest(password: str) -> bytes:
    """44 bytes in which every character counts; bcrypt itself reads 72 bytes and stops at a NUL."""
    return base64.b64encode(hashlib.sha256(password.encode()).digest())
