"""The invariants that hold after any kill, read from the log and the picture folder without our own folds."""

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
OUTCOMES = {"image.drawn", "image.drawing_failed", "image.cancelled"}
# A job may finish this long after its deadline, when its process died and another had to take it over.
LATE_SECONDS_MAX = 10


class PointTotals:
    """One account's points. `available` is copied from the last event; it is not computed here."""

    def __init__(self) -> None:
        self.granted = self.available = self.spent = self.deducted = 0
        self.held: Counter[str] = Counter()
        self.settled: Counter[str] = Counter()
        self.returned: Counter[str] = Counter()

    def apply(self, topic: str, state: dict[str, Any]) -> None:
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
        faults = []
        if self.granted != self.available + self.held.total() + self.spent + self.deducted:
            faults.append(f"account {account}: granted is not available + held + spent + deducted")
        return faults + [f"image {image}: {n} points are held" for image, n in self.held.items() if n]


class Job:
    """The events of one image."""

    def __init__(self, requested: dict[str, Any]) -> None:
        self.account: str = requested["account_id"]
        self.points: int = requested["points"]
        self.deadline = datetime.fromisoformat(requested["deadline"])
        self.is_started = False
        self.outcomes: list[tuple[str, dict[str, Any]]] = []

    @property
    def digest(self) -> str | None:
        return next((state["digest"] for topic, state in self.outcomes if topic == "image.drawn"), None)

    def faults(self, image: str, totals: PointTotals) -> list[str]:
        if len(self.outcomes) != 1:
            return [f"image {image}: it has {len(self.outcomes)} outcomes"]
        ((topic, state),) = self.outcomes
        faults = []
        late = (datetime.fromisoformat(state["timestamp"]) - self.deadline).total_seconds()
        if late > LATE_SECONDS_MAX:
            faults.append(f"image {image}: it finished {late:.0f} s after its deadline")
        settled, returned = totals.settled[image], totals.returned[image]
        due = (self.points, 0) if topic == "image.drawn" else (0, self.points)
        if (settled, returned) != due:
            faults.append(f"image {image}: {topic}, and {settled} points settled, {returned} returned")
        return faults


class Ledger:
    """Reads the log incrementally; checked images are not checked again."""

    def __init__(self, pictures: Path) -> None:
        self.position = 0
        self.accounts: dict[str, PointTotals] = {}
        self.jobs: dict[str, Job] = {}
        self.outcomes: Counter[str] = Counter()
        self._pictures = pictures
        self._digests: dict[str, str] = {}

    def read(self, connection: psycopg.Connection) -> None:
        for position, stream, topic, state in connection.execute(_NEW, (self.position,)):
            self.position = position
            self._apply(stream, topic, json.loads(bytes(state)))

    def open_images(self) -> list[tuple[str, str]]:
        """Return image and account of the unfinished images, those in progress first."""
        found = [(image, job) for image, job in self.jobs.items() if not job.outcomes]
        found.sort(key=lambda pair: not pair[1].is_started)
        return [(image, job.account) for image, job in found]

    def _apply(self, stream: str, topic: str, state: dict[str, Any]) -> None:
        if topic.startswith("account."):
            self.accounts.setdefault(stream, PointTotals()).apply(topic, state)
        elif topic == "image.requested":
            self.jobs[stream] = Job(state)
        elif topic == "image.started":
            self.jobs[stream].is_started = True
        elif topic in OUTCOMES:
            self.jobs[stream].outcomes.append((topic, state))

    def check(self) -> list[str]:
        """Return all faults. Called when no job is in progress."""
        faults = [fault for account, totals in self.accounts.items() for fault in totals.faults(account)]
        for image, job in self.jobs.items():
            faults += job.faults(image, self.accounts[job.account])
            self.outcomes.update(topic for topic, _ in job.outcomes)
            if job.digest:
                self._digests[f"{image.replace('-', '')}.png"] = job.digest
        self.jobs.clear()
        return faults + self._faults_of_files()

    def _faults_of_files(self) -> list[str]:
        files = {file.name for file in self._pictures.iterdir() if _KEY.fullmatch(file.name)}
        faults = [f"picture {key}: paid, but the file is missing" for key in self._digests.keys() - files]
        faults += [f"picture {key}: the file exists, but is not paid" for key in files - self._digests.keys()]
        for key in files & self._digests.keys():
            if hashlib.sha256((self._pictures / key).read_bytes()).hexdigest() != self._digests[key]:
                faults.append(f"picture {key}: the file has another digest than recorded")
        return faults
