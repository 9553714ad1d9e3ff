"""`python -m tests.faults --kills 1000`: kill at random for as long as it takes, and tell what was wrong."""

import argparse
import random
import sys
import time

from tests.faults.broken import BROKEN
from tests.faults.driver import Driver
from tests.faults.storm import Storm

FAULTS_MAX = 20
TELL_EVERY_SECONDS = 20


def main() -> int:
    words = _words()
    began = time.monotonic()
    with Driver(words.broken) as driver:
        storm = Storm(driver, words.seed)
        faults = _blow(storm, driver, words.kills) + driver.audited()
        _tell(storm, driver, time.monotonic() - began, words.seed)
    for fault in faults:
        print(f"FAULT  {fault}")
    print("nothing wrong" if not faults else f"{len(faults)} faults")
    return 1 if faults else 0


def _words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--broken", choices=("", *BROKEN), default="", help="a build broken on purpose")
    return parser.parse_args()


def _blow(storm: Storm, driver: Driver, kills: int) -> list[str]:
    faults: list[str] = []
    told_at = 0.0
    while driver.fleet.kills.total() < kills and len(faults) < FAULTS_MAX:
        faults += storm.blow()
        if time.monotonic() - told_at > TELL_EVERY_SECONDS:
            told_at = time.monotonic()
            print(f"{driver.fleet.kills.total()} kills, {len(faults)} faults", file=sys.stderr, flush=True)
    return faults


def _tell(storm: Storm, driver: Driver, seconds: float, seed: int) -> None:
    print(f"seed {seed}, {seconds:.0f} s, log of {driver.ledger.position} events")
    for title, counted in (
        ("rounds", storm.rounds),
        ("kills", driver.fleet.kills),
        ("pictures", driver.ledger.outcomes),
    ):
        each = ", ".join(f"{name} {count}" for name, count in sorted(counted.items()))
        print(f"{title:9}{counted.total():6}  {each}")


if __name__ == "__main__":
    sys.exit(main())
