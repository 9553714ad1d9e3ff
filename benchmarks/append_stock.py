"""The stock library in the append benchmark: `Application.save` in threads, with its best configuration."""

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from uuid import UUID, uuid4

from eventsourcing.application import Application
from psycopg.conninfo import conninfo_to_dict

from benchmarks.append_variants import ACCOUNTS, Variant
from benchmarks.measuring import Sample, Step, measure_threads
from huajuan.domain.account import Account
from huajuan.domain.aggregate import EventMetadata, with_event_metadata
from huajuan.domain.rules import ADJUSTMENT_MAX
from huajuan.event_store.mapper import EventMapper
from tests.event_store.samples import OneKey

PLENTY = ADJUSTMENT_MAX


class StockMapper(EventMapper):
    """Our mapper, so that mapping costs the same on both sides."""

    keys = OneKey()


class Stock(Application[UUID]):
    """Uses the library's recorder and its own table."""

    name = "stock"


@asynccontextmanager
async def stock_save(dsn: str, clients_max: int) -> AsyncIterator[Variant]:
    """Check-ins of cached accounts: get, decide, save."""
    app = Stock(environment_of(dsn, clients_max))
    accounts = register_all(app)

    async def measure(clients: int, seconds: float) -> Sample:
        shares = [accounts[n::clients] for n in range(clients)]
        return await measure_threads([_check_in_by_turns(app, share) for share in shares], seconds)

    yield Variant("stock Application.save", measure)
    app.close()


def environment_of(dsn: str, clients_max: int) -> dict[str, str]:
    """A connection a thread, and a cache that neither reads nor copies before a decision, like ours."""
    parts = conninfo_to_dict(dsn)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "MAPPER_TOPIC": f"{__name__}:StockMapper",
        "AGGREGATE_CACHE_MAXSIZE": str(2 * ACCOUNTS),
        "AGGREGATE_CACHE_FASTFORWARD": "n",
        "DEEPCOPY_FROM_AGGREGATE_CACHE": "n",
        "POSTGRES_DBNAME": str(parts["dbname"]),
        "POSTGRES_HOST": str(parts["host"]),
        "POSTGRES_PORT": str(parts["port"]),
        "POSTGRES_USER": str(parts["user"]),
        "POSTGRES_PASSWORD": str(parts.get("password", "-")),
        "POSTGRES_POOL_SIZE": str(clients_max),
        "POSTGRES_MAX_OVERFLOW": "0",
    }


def register_all(app: Stock) -> list[UUID]:
    with with_event_metadata(EventMetadata(datetime.now(UTC))):
        accounts = [
            Account.register(uuid4(), f"user{n}", f"user{n}@example.org", "hash") for n in range(ACCOUNTS)
        ]
        for account in accounts:
            account.grant(PLENTY, "welcome")
    app.save(*accounts)
    return [account.id for account in accounts]


def _check_in_by_turns(app: Stock, accounts: Sequence[UUID]) -> Step:
    turns, today = itertools.cycle(accounts), date.today()

    def step() -> None:
        account: Account = app.repository.get(next(turns))
        with with_event_metadata(EventMetadata(datetime.now(UTC))):
            account.check_in(today, once_a_day=False)
        app.save(account)

    return step
