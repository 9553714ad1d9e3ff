"""One-event saves per second, our group commit against the stock library: `python -m benchmarks.append`."""

import argparse
import os
import platform
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from importlib.metadata import version
from pathlib import Path

import psycopg
import uvloop

from benchmarks.append_report import Round, table
from benchmarks.append_stock import stock_save
from benchmarks.append_variants import Variant, group_commit, raw_insert, whole_commands
from huajuan.embedded_postgres import EmbeddedPostgres
from huajuan.event_store.schema import create_schema
from huajuan.runtime.logs import configure_logs
from tests.database import Databases, passable_folder

# On a disk, even if the temporary folder is in memory.
DISK = Path("/var/tmp")
# Connections besides those of the clients.
OTHER_CONNECTIONS = 30


def main() -> None:
    options = _options()
    configure_logs()
    with durable_server(max(options.clients)) as databases:
        uvloop.run(_compare(databases, options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="each measures every variant once")
    parser.add_argument("--seconds", type=float, default=1.2, help="of each measurement")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
    return parser.parse_args()


@contextmanager
def durable_server(clients_max: int) -> Iterator[Databases]:
    """A server on a disk, with fsync, and with enough connections for all clients."""
    settings = {"max_connections": str(2 * clients_max + OTHER_CONNECTIONS)}
    parent = DISK if DISK.is_dir() else None
    with (
        passable_folder(parent) as folder,
        EmbeddedPostgres(folder, durable=True, die_with_parent=True, settings=settings) as server,
        closing(Databases(server.dsn())) as databases,
    ):
        yield databases


async def _compare(databases: Databases, options: argparse.Namespace) -> None:
    ours, theirs = (databases.dsn(databases.create()) for _ in range(2))
    create_schema(ours)
    print(_machine(ours))
    async with opened_variants(ours, theirs, max(options.clients)) as (stock, raw, *others):
        variants = (stock, raw, *others)
        rounds: dict[int, list[Round]] = {clients: [] for clients in options.clients}
        for number in range(options.rounds):
            for clients in options.clients:
                rounds[clients].append(await one_round(variants, number, clients, options.seconds))
    print(f"Medians of {options.rounds} interleaved rounds of {options.seconds} s [lowest–highest]\n")
    print(table(stock.name, raw.name, rounds))


@asynccontextmanager
async def opened_variants(ours: str, theirs: str, clients_max: int) -> AsyncIterator[list[Variant]]:
    makers = (stock_save(theirs, clients_max), raw_insert(ours), group_commit(ours), whole_commands(ours))
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(maker) for maker in makers]


async def one_round(variants: Sequence[Variant], number: int, clients: int, seconds: float) -> Round:
    """Each round begins with another variant; the samples are returned in one order."""
    first = number % len(variants)
    samples = {v.name: await v.measure(clients, seconds) for v in (*variants[first:], *variants[:first])}
    return {variant.name: samples[variant.name] for variant in variants}


def _machine(dsn: str) -> str:
    with psycopg.connect(dsn) as connection:
        names = ("server_version", "fsync", "synchronous_commit")
        server, *durability = [connection.execute(f"SHOW {name}".encode()).fetchone() for name in names]
    assert server
    assert durability == [("on",), ("on",)], "the comparison is of durable saves"
    return (
        f"{os.cpu_count()} cores, PostgreSQL {server[0]} (fsync and synchronous_commit on), "
        f"Python {platform.python_version()}, uvloop {version('uvloop')}"
    )


if __name__ == "__main__":
    main()
