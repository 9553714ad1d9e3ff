"""Programs that tests start as separate processes, for races and kills.

`python -m tests.event_store.process append DSN SAVES` · `hold DSN NAME…` · `acknowledge DSN`
"""

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID, uuid4

from huajuan.domain.aggregate import AggregateRoot
from huajuan.domain.email_claim import EmailClaim
from huajuan.domain.refusals import NotEnoughPoints
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import EventStore
from huajuan.runtime.logs import configure_logs
from tests.event_store.helpers import hold, opened

ROOT = Path(__file__).parent.parent.parent
TASKS = 16


async def start(*arguments: object) -> asyncio.subprocess.Process:
    """Starts one of these programs. The test reads its standard output."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.event_store.process", *map(str, arguments),
        cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def append_claims(store: EventStore, stream: UUID, events: int = 1) -> int:
    """Saves one to three events on a new stream. Returns the last position."""

    def decide(_: EmailClaim | None) -> Iterable[AggregateRoot]:
        claim = EmailClaim.begin(stream, stream)
        if events > 1:
            claim.release()
        if events > 2:
            claim.claim(stream)
        return [claim]

    return (await store.change(decide, Stream(EmailClaim, stream))).position


async def append(dsn: str, saves_of_a_task: str) -> None:
    async with opened(dsn) as store:

        async def some() -> None:
            for n in range(int(saves_of_a_task)):
                await append_claims(store, uuid4(), 1 + n % 3)

        await asyncio.gather(*(some() for _ in range(TASKS)))


async def hold_until_refused(dsn: str, *names: str) -> None:
    """After "go", takes 7 points at a time from each account, in several tasks, until there are too few.

    Prints how often it did.
    """
    async with opened(dsn) as store:
        print("ready", flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.readline)

        async def drain(name: str) -> int:
            taken = 0
            while True:
                try:
                    await hold(store, store.stream_ids.account(name), 7)
                except NotEnoughPoints:
                    return taken
                taken += 1

        taken = await asyncio.gather(*(drain(name) for name in names for _ in range(3)))
        print(sum(taken), flush=True)  # noqa: T201


async def acknowledge(dsn: str) -> None:
    """Appends without end, and prints each stream after the acknowledgement of its append."""
    async with opened(dsn) as store:

        async def for_ever() -> None:
            while True:
                stream = uuid4()
                await append_claims(store, stream, 3)
                print(stream, flush=True)  # noqa: T201

        await asyncio.gather(*(for_ever() for _ in range(TASKS)))


if __name__ == "__main__":
    configure_logs()
    programs = {"append": append, "hold": hold_until_refused, "acknowledge": acknowledge}
    asyncio.run(programs[sys.argv[1]](*sys.argv[2:]))  # type: ignore[operator]
