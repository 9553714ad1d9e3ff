"""The append benchmark's rows of the table: saves and commands, against the stock library and an INSERT."""

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack

import uvloop

from benchmarks.append import one_round
from benchmarks.append_asks import asks, stock_asks
from benchmarks.append_pgbench import pgbench, program
from benchmarks.append_report import Round
from benchmarks.append_stock import stock_save
from benchmarks.append_variants import group_commit, raw_insert, whole_commands
from benchmarks.ground import Ground, say
from benchmarks.table import NO_GOAL, Goal, Row

CLIENTS = (1, 16, 64)
SAVE, COMMAND, ASK = (
    "one-event append with the chain",
    "check in, whole command",
    "generate's ask, whole command",
)
STOCK, SAME, RAW = ("stock Application.save", "stock Application doing the same", "raw async INSERT")
PGBENCH = "pgbench, the same INSERT"
# The operation, the comparator, and the number of clients.
GOALS = {
    (SAVE, STOCK): {16: Goal(least=12), 64: Goal(least=30)},
    (SAVE, RAW): {16: Goal(least=1.2), 64: Goal(least=3)},
    (COMMAND, SAME): {16: Goal(least=10), 64: Goal(least=13)},
    (ASK, SAME): {16: Goal(least=10), 64: Goal(least=13)},
}


def rows(ground: Ground) -> Iterator[Row]:
    """Four rows for each number of clients, and one more if pgbench exists."""
    for clients, rounds in uvloop.run(_measured(ground)).items():
        saving, inserting, ready_made, checking_in, stock_asking, asking, *pgbenching = list(rounds[0])
        pairs = [
            (SAVE, STOCK, ready_made, saving),
            (SAVE, RAW, ready_made, inserting),
            (COMMAND, SAME, checking_in, saving),
            (ASK, SAME, asking, stock_asking),
            *((SAVE, PGBENCH, ready_made, name) for name in pgbenching),
        ]
        for what, against, ours, theirs in pairs:
            goal = GOALS.get((what, against), {}).get(clients, NO_GOAL)
            name = f"{what}, {clients} client{'s' if clients > 1 else ''}"
            yield Row.of(name, against, _rates(rounds, ours), _rates(rounds, theirs), "/s", goal)


async def _measured(ground: Ground) -> dict[int, list[Round]]:
    ours, theirs, most = ground.database(), ground.database(), max(CLIENTS)
    makers = (
        *(stock_save(theirs, most), raw_insert(ours), group_commit(ours), whole_commands(ours)),
        *(stock_asks(ground.database(), most), asks(ours)),
        *([pgbench(ours)] if program() else []),
    )
    async with AsyncExitStack() as stack:
        variants = [await stack.enter_async_context(maker) for maker in makers]
        taken: dict[int, list[Round]] = {clients: [] for clients in CLIENTS}
        for number in range(ground.options.rounds):
            say(f"append: round {number + 1} of {ground.options.rounds}")
            for clients, rounds in taken.items():
                rounds.append(await one_round(variants, number, clients, ground.options.seconds))
    return taken


def _rates(rounds: Sequence[Round], name: str) -> list[float]:
    return [samples[name].per_second for samples in rounds]
