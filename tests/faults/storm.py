"""Kills at random: at points of the matrix, and at moments that nobody named, several in a row."""

import random
import time
from collections import Counter

from tests.faults.driver import Driver
from tests.faults.points import EVERYBODY, MATRIX

KILLS_IN_A_ROW = (2, 5)
PAUSE_SECONDS_MAX = 0.5
OCCASIONS = ("draw", "draw", "draw", "lost", "fail", "wait", "cancel")


class Storm:
    """The same numbers for the same seed; what the processes make of them differs from run to run."""

    def __init__(self, driver: Driver, seed: int) -> None:
        self._driver = driver
        self._random = random.Random(seed)
        self.rounds: Counter[str] = Counter()

    def blow(self) -> list[str]:
        """One round, and what is wrong after it."""
        if self._random.random() < 0.5:
            kill = self._random.choice(MATRIX)
            self.rounds["at a point"] += 1
            return [f"{kill.name}: {fault}" for fault in self._driver.play(kill)]
        self.rounds["at any moment"] += 1
        return [f"storm: {fault}" for fault in self.kill_in_a_row()]

    def kill_in_a_row(self) -> list[str]:
        driver, fleet = self._driver, self._driver.fleet
        driver.bring_about(self._random.choice(OCCASIONS))
        for _ in range(self._random.randint(*KILLS_IN_A_ROW)):
            time.sleep(self._random.uniform(0, PAUSE_SECONDS_MAX))
            victim = self._random.choice(EVERYBODY)
            if not fleet.is_dead(victim):
                fleet.kill(victim)
            if self._random.random() < 0.6:
                fleet.revive()
                driver.crowd.ask()
        return driver.settled()
