"""`python -m tests.faults --kills 1000`: kill processes at random and print the faults found."""

import argparse
import random
import sys
import time

from tests.faults.broken import BROKEN
from tests.faults.driver import Driver
from tests.faults.random_kills import RandomKills

FAULTS_MAX = 20
PRINT_INTERVAL_SECONDS = 20


def main() -> int:
    arguments = _arguments()
    began = time.monotonic()
    with Driver(arguments.broken) as driver:
        random_kills = RandomKills(driver, arguments.seed)
        faults = _kill(random_kills, driver, arguments.kills) + driver.audited()
        _print_summary(random_kills, driver, time.monotonic() - began, arguments.seed)
    for fault in faults:
        print(f"FAULT  {fault}")
    print("nothing wrong" if not faults else f"{len(faults)} faults")
    return 1 if faults else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--broken", choices=("", *BROKEN), default="", help="a build broken on purpose")
    return parser.parse_args()


def _kill(random_kills: RandomKills, driver: Driver, kills: int) -> list[str]:
    faults: list[str] = []
    printed_at = 0.0
    while driver.processes.kills.total() < kills and len(faults) < FAULTS_MAX:
        faults += random_kills.play_round()
        if time.monotonic() - printed_at > PRINT_INTERVAL_SECONDS:
            printed_at = time.monotonic()
            print(
                f"{driver.processes.kills.total()} kills, {len(faults)} faults", file=sys.stderr, flush=True
            )
    return faults


def _print_summary(random_kills: RandomKills, driver: Driver, seconds: float, seed: int) -> None:
    print(f"seed {seed}, {seconds:.0f} s, log of {driver.ledger.position} events")
    for title, counted in (
        ("rounds", random_kills.rounds),
        ("kills", driver.processes.kills),
        ("pictures", driver.ledger.outcomes),
    ):
        each = ", ".join(f"{name} {count}" for name, count in sorted(counted.items()))
        print(f"{title:9}{counted.total():6}  {each}")


if __name__ == "__main__":
    sys.exit(main())
