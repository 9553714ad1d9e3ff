"""Accounts with names that an older version accepted and that do not fit a path."""

from collections.abc import Callable, Iterable
from functools import partial
from uuid import UUID

from huajuan.auth.passwords import Passwords
from huajuan.domain.account import Account
from huajuan.domain.aggregate import AggregateRoot
from huajuan.event_store.loader import Stream
from tests.event_store.helpers import opened

# Names that fit one segment of a path, percent-encoded.
IN_A_SEGMENT = [
    "小明", "q?y", "q b", "czh%30", "100%", "%2F", "a#b", "a+b", "a&b=c", "a\"b'c", "a<b>,;c",
    "\r\nX-Evil: 1", "🎨𠀀", "a\\b", "é", "x\u2060", "\u3164", "id", "points",
]  # fmt: skip
IN_NO_SEGMENT = ["a/b", ".", "..", "/", "id/3", "../x"]


async def registered_long_ago(dsn: str, *names: str, password: str = "secret") -> list[UUID]:
    passwords = Passwords(cost=4, threads_max=1, waiting_max=0)
    password_hash = await passwords.hash(password)
    passwords.close()
    made = []
    async with opened(dsn) as store:
        for number, name in enumerate(names):
            account_id = store.stream_ids.account(name)
            await store.keys.make(account_id)
            register = partial(Account.register, account_id, name, f"odd{number}@example.org", password_hash)

            def decide(
                _: Account | None, register: Callable[[], Account] = register
            ) -> Iterable[AggregateRoot]:
                return [register()]

            await store.change(decide, Stream(Account, account_id))
            made.append(account_id)
    return made
