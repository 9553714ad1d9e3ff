"""The environment of all benchmarks: options, a durable Postgres, and services on it."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from benchmarks.append import DISK
from benchmarks.load import Loaded, LoadFailed, Order, load
from benchmarks.made_log import make_log
from benchmarks.table import Row
from huajuan.event_store.schema import create_schema
from huajuan.server.database import create_tables
from tests.database import Databases, passable_folder
from tests.server.service import Service

T = TypeVar("T")
CONNECTIONS = (16, 64)
# The limits of the default installation, except those that would stop a benchmark.
PATIENT = {
    "check_in_limit": "none",
    "welcome_points": 1_000_000,
    "bcrypt_cost": 4,
    "login_account_failures_max": 1_000_000,
    "login_address_failures_max": 1_000_000,
}


@dataclass(frozen=True)
class Options:
    """Durations and repetitions; `events` in the generated log, `requests` between memory measurements."""

    rounds: int
    seconds: float
    events: int
    requests: int


@dataclass
class Ground:
    """One per run."""

    databases: Databases
    options: Options
    busiest_load: float = 0
    _made_logs: dict[int, str] = field(default_factory=dict)

    def database(self) -> str:
        """The DSN of a new database with the tables."""
        dsn = self.databases.dsn(self.databases.create())
        create_schema(dsn)
        return dsn

    def made_log(self) -> str:
        """The DSN of a long log, generated once per run."""
        events = self.options.events
        if events not in self._made_logs:
            say(f"making a log of {events:,} events")
            dsn = self.database()
            make_log(dsn, events)
            create_tables(dsn)
            self._made_logs[events] = dsn
        return self._made_logs[events]

    @contextmanager
    def serving(self, dsn: str = "", **settings: object) -> Iterator[tuple[Service, str]]:
        """A ready service in its own processes, and the DSN of its database."""
        dsn = dsn or self.database()
        given: dict[str, Any] = {"database_url": dsn, **PATIENT, **settings}
        with (
            passable_folder(DISK if DISK.is_dir() else None) as folder,
            Service(folder, **given) as service,
        ):
            yield service.ready(), dsn

    def load(self, order: Order) -> Loaded:
        """Runs the order, and records how busy the load process was. Raises `LoadFailed`."""
        loaded = load(order)
        if not loaded.per_second:
            raise LoadFailed(f"no reply came within {order.seconds:g} s")
        self.busiest_load = max(self.busiest_load, loaded.busy)
        return loaded

    def rounds(self, what: str, variants: Sequence[Callable[[], T]]) -> list[list[T]]:
        """The measurements of each variant: each round measures all of them, and begins with another."""
        taken: list[list[T]] = [[] for _ in variants]
        for number in range(self.options.rounds):
            say(f"{what}: round {number + 1} of {self.options.rounds}")
            for turn in range(len(variants)):
                chosen = (number + turn) % len(variants)
                taken[chosen].append(variants[chosen]())
        return taken


Part = Callable[[Ground], Iterable[Row]]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
