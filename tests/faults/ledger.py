"""What must hold whatever died, read straight from the log and the picture folder, with none of our own folds."""

import hashlib
import json
import re
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

_NEW = """
SELECT notification_id, originator_id::text, topic, state FROM log.huajuan_events
 WHERE notification_id > %s ORDER BY notification_id
"""
_KEY = re.compile(r"[0-9a-f]{32}\.png")
ENDINGS = {"image.drawn", "image.drawing_failed", "image.cancelled"}
# A job may be ended so long after its deadline: whoever had it died, and another had to notice.
LATE_SECONDS_MAX = 10


class Pots:
    """One account's points. `available` is what its own last event says it has, which nobody adds up here."""

    def __init__(self) -> None:
        self.granted = self.available = self.spent = self.deducted = 0
        self.held: Counter[str] = Counter()
        self.settled: Counter[str] = Counter()
        self.returned: Counter[str] = Counter()

    def take(self, topic: str, state: dict[str, Any]) -> None:
        self.available = state.get("balance", self.available)
        image, points = state.get("image_id", ""), state.get("points", 0)
        match topic.removeprefix("account."):
            case "points_granted" | "checked_in":
                self.granted += points
            case "points_deducted":
                self.deducted += points
            case "points_held":
                self.held[image] += points
            case "points_settled":
                self.held[image] -= points
                self.settled[image] += points
                self.spent += points
            case "points_returned":
                self.held[image] -= points
                self.returned[image] += points

    def faults(self, account: str) -> list[str]:
        told = []
        if self.granted != self.available + self.held.total() + self.spent + self.deducted:
            told.append(f"account {account}: granted is not available + held + spent + deducted")
        return told + [f"image {image}: {n} points are held" for image, n in self.held.items() if n]


class Job:
    """One picture's events."""

    def __init__(self, requested: dict[str, Any]) -> None:
        self.account: str = requested["account_id"]
        self.points: int = requested["points"]
        self.deadline = datetime.fromisoformat(requested["deadline"])
        self.is_started = False
        self.ends: list[tuple[str, dict[str, Any]]] = []

    @property
    def digest(self) -> str | None:
        return next((state["digest"] for topic, state in self.ends if topic == "image.drawn"), None)

    def faults(self, image: str, pots: Pots) -> list[str]:
        if len(self.ends) != 1:
            return [f"image {image}: it has {len(self.ends)} ends"]
        ((topic, state),) = self.ends
        told = []
        late = (datetime.fromisoformat(state["timestamp"]) - self.deadline).total_seconds()
        if late > LATE_SECONDS_MAX:
            told.append(f"image {image}: it ended {late:.0f} s after its deadline")
        paid, back = pots.settled[image], pots.returned[image]
        due = (self.points, 0) if topic == "image.drawn" else (0, self.points)
        if (paid, back) != due:
            told.append(f"image {image}: {topic}, and {paid} points settled, {back} returned")
        return told


class Ledger:
    """Read on from where it was; what has been found right is not looked at again."""

    def __init__(self, pictures: Path) -> None:
        self.position = 0
        self.accounts: dict[str, Pots] = {}
        self.jobs: dict[str, Job] = {}
        self.outcomes: Counter[str] = Counter()
        self._pictures = pictures
        self._digests: dict[str, str] = {}

    def read(self, connection: psycopg.Connection) -> None:
        for position, stream, topic, state in connection.execute(_NEW, (self.position,)):
            self.position = position
            self._take(stream, topic, json.loads(bytes(state)))

    def open_images(self) -> list[tuple[str, str]]:
        """Image and account of those that have not ended, what is being drawn first."""
        found = [(image, job) for image, job in self.jobs.items() if not job.ends]
        found.sort(key=lambda pair: not pair[1].is_started)
        return [(image, job.account) for image, job in found]

    def _take(self, stream: str, topic: str, state: dict[str, Any]) -> None:
        if topic.startswith("account."):
            self.accounts.setdefault(stream, Pots()).take(topic, state)
        elif topic == "image.requested":
            self.jobs[stream] = Job(state)
        elif topic == "image.started":
            self.jobs[stream].is_started = True
        elif topic in ENDINGS:
            self.jobs[stream].ends.append((topic, state))

    def close(self) -> list[str]:
        """What is wrong now that nothing goes on any more; empty when all is well."""
        told = [fault for account, pots in self.accounts.items() for fault in pots.faults(account)]
        for image, job in self.jobs.items():
            told += job.faults(image, self.accounts[job.account])
            self.outcomes.update(topic for topic, _ in job.ends)
            if job.digest:
                self._digests[f"{image.replace('-', '')}.png"] = job.digest
        self.jobs.clear()
        return told + self._faults_of_files()

    def _faults_of_files(self) -> list[str]:
        there = {file.name for file in self._pictures.iterdir() if _KEY.fullmatch(file.name)}
        told = [f"picture {key}: paid, and not there" for key in self._digests.keys() - there]
        told += [f"picture {key}: there, and not paid" for key in there - self._digests.keys()]
        for key in there & self._digests.keys():
            if hashlib.sha256((self._pictures / key).read_bytes()).hexdigest() != self._digests[key]:
                told.append(f"picture {key}: not the one on record")
        return told
