"""Kills at random: at fail points of the matrix, and at arbitrary moments, several in a row."""

import random
import time
from collections import Counter

from tests.faults.driver import Driver
from tests.faults.matrix import MATRIX, PROCESSES

KILLS_IN_A_ROW = (2, 5)
PAUSE_SECONDS_MAX = 0.5
SCENARIOS = ("draw", "draw", "draw", "lost", "fail", "wait", "cancel")


class RandomKills:
    """The choices depend on the seed alone; how the processes react differs from run to run."""

    def __init__(self, driver: Driver, seed: int) -> None:
        self._driver = driver
        self._random = random.Random(seed)
        self.rounds: Counter[str] = Counter()

    def play_round(self) -> list[str]:
        """Play one round and return the faults found after it."""
        if self._random.random() < 0.5:
            kill = self._random.choice(MATRIX)
            self.rounds["at a fail point"] += 1
            return [f"{kill.name}: {fault}" for fault in self._driver.play(kill)]
        self.rounds["at any moment"] += 1
        return [f"random kills: {fault}" for fault in self.kill_in_a_row()]

    def kill_in_a_row(self) -> list[str]:
        driver, processes = self._driver, self._driver.processes
        driver.play_scenario(self._random.choice(SCENARIOS))
        for _ in range(self._random.randint(*KILLS_IN_A_ROW)):
            time.sleep(self._random.uniform(0, PAUSE_SECONDS_MAX))
            victim = self._random.choice(PROCESSES)
            if not processes.is_dead(victim):
                processes.kill(victim)
            if self._random.random() < 0.6:
                processes.restart_dead()
                driver.users.request()
        return driver.settled()
