"""Everything that can die: two services on one database, the painter and Postgres, each killed and started again."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import httpx
import psycopg

from huajuan.embedded_postgres import EmbeddedPostgres
from huajuan.runtime.fail_points import FOLDER, MARK, PASSED
from tests.database import eventually, fast_folder, kill_server, passable_folder
from tests.faults.nursery import Nursery
from tests.loopback import NO_TLS
from tests.server.processes import PROC
from tests.server.service import environment

DATABASE = "faults"
SERVICES = ("api", "dispatcher")
STEP_SECONDS = 0.03
BELOW_EPHEMERAL = (20_000, 32_000)
READY = "Ctrl-C stops it"
# Long enough for a picture, short enough for a test.
SOON: dict[str, Any] = {
    "welcome_points": 100_000,
    "bcrypt_cost": 4,
    "workers": 1,
    "dispatch_job_seconds_max": 15,
    "dispatch_lease_seconds": 1,
    "dispatch_heartbeat_seconds": 0.2,
    "dispatch_claim_every_seconds": 0.2,
    "dispatch_silent_rest_seconds_max": 0.5,
    "dispatch_unasked_seconds_max": 4,
    "dispatch_unasked_pause_seconds": 0.2,
    "dispatch_overdue_every_seconds": 0.3,
    "dispatch_nobody_seconds_max": 3,
    "dispatch_wait_poll_seconds": 0.3,
    "dispatch_rest_seconds_min": 0.1,
    "dispatch_rest_seconds_max": 0.5,
    "dispatch_stop_seconds_max": 1,
    "painter_lost_seconds_max": 0.5,
    "painter_history_seconds_max": 0.5,
    "painter_unreachable_seconds_max": 3,
    "painter_poll_seconds_min": 0.05,
    "painter_retry_seconds": 0.05,
    "painter_socket_retry_seconds_min": 0.1,
    "painter_socket_retry_seconds_max": 0.5,
    "log_reconnect_pause_seconds_max": 0.2,
    "stop_seconds_max": 1,
}


def lasting_port() -> int:
    """A free one that no outgoing connection can be given while its owner is dead."""
    while True:
        port = random.randrange(*BELOW_EPHEMERAL)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Fleet:
    """Use as a context manager. `broken` names the build that the services are."""

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.kills: Counter[str] = Counter()
        self.pids: dict[str, int] = {}
        self.resent: set[str] = set()
        self._painter_port = lasting_port()
        self._ports = {name: lasting_port() for name in SERVICES}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = stack.enter_context(passable_folder(fast_folder()))
            self.pictures = self._made("pictures")
            self._points = {name: self._made(f"points-{name}") for name in (*SERVICES, "errand")}
            # Durable against the death of its processes; nobody pulls the plug.
            root = self.folder / "postgres"
            server = EmbeddedPostgres(root, settings={"fsync": "off"}, die_with_parent=True)
            self.postgres = stack.enter_context(server)
            with psycopg.connect(self.postgres.dsn(), autocommit=True) as connection:
                connection.execute(f"create database {DATABASE}".encode())
            self._nursery = Nursery()
            stack.callback(self._nursery.close)
            self._start_all()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _made(self, name: str) -> Path:
        (self.folder / name).mkdir()
        return self.folder / name

    def _start_all(self) -> None:
        self.start("painter")
        for name in SERVICES:
            self.start(name)

    @property
    def dsn(self) -> str:
        return self.postgres.dsn(DATABASE)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._ports['api']}"

    def start(self, name: str) -> None:
        """Returns when it is ready for its work."""
        if name == "postgres":
            self.postgres.start()
        elif name == "painter":
            words = {"port": self._painter_port, "step_seconds": STEP_SECONDS, "folder": str(self.folder)}
            self.pids[name] = self._nursery.start("painter", self.log(name), {}, **words)
            eventually(lambda: self._painter_answers() or self._has_ended(name))
        else:
            seen = self.told(name).count(READY)
            self.pids[name] = self._nursery.start(
                name, self.log(name), self._settings(name), broken=self.broken
            )
            eventually(lambda: self.told(name).count(READY) > seen or self._has_ended(name))

    def start_errand(self, verb: str, account: str, image: str = "") -> str:
        """Returns the image's id."""
        words = {"verb": verb, "account": account, "image": image or str(uuid4()), "broken": self.broken}
        self.pids["errand"] = self._nursery.start(
            "errand", self.log("errand"), self._settings("errand"), **words
        )
        return words["image"]

    def kill(self, name: str) -> None:
        """kill -9, and return when it is gone."""
        if name == "painter":
            self.note_resent()
        if name == "postgres":
            kill_server(self.postgres)
        elif not self.is_dead(name):
            os.kill(self.pids[name], signal.SIGKILL)
        self.kills[name] += 1
        eventually(lambda: self.is_dead(name))

    def is_dead(self, name: str) -> bool:
        if name == "postgres":
            return self.postgres.running() is None
        # A zombie's threads may still hold its port; the nursery reaps what is gone altogether.
        return name not in self.pids or not (PROC / str(self.pids[name])).exists()

    def revive(self) -> None:
        """Start whatever is dead."""
        for name in ("postgres", "painter", *SERVICES):
            if self.is_dead(name):
                self.start(name)

    def ask_operator(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Have a verb of the command line do its work beside the services."""
        command = [sys.executable, "-P", "-m", "huajuan", *words]
        told = environment(database_url=self.dsn, data_dir=self.folder / "data-operator")
        return subprocess.run(command, env=told, cwd=self.folder, capture_output=True, text=True, timeout=120)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def told(self, name: str) -> str:
        return self.log(name).read_text(errors="replace") if self.log(name).exists() else ""

    def _settings(self, name: str) -> dict[str, object]:
        own = {
            "data_dir": self.folder / f"data-{name}",
            "database_url": self.dsn,
            "storage_url": self.pictures,
            "comfyui_urls": self._painter,
            "jwt_secret": "a secret of at least thirty-two bytes",
            "port": self._ports.get(name, 0) or lasting_port(),
        }
        marks = {FOLDER.removeprefix("HUAJUAN_"): self._points[name], MARK.removeprefix("HUAJUAN_"): 1}
        return SOON | own | marks

    def _has_ended(self, name: str) -> bool:
        assert not self.is_dead(name), self.told(name)[-2000:]
        return False

    # What is asked of the painter.

    @property
    def _painter(self) -> str:
        return f"http://127.0.0.1:{self._painter_port}"

    def _painter_answers(self) -> bool:
        try:
            return httpx.get(f"{self._painter}/queue", trust_env=False, verify=NO_TLS).is_success
        except httpx.HTTPError:
            return False

    def misbehave(self, mode: str = "", **more: object) -> None:
        """The next job goes wrong so; no mode: all goes well again."""
        body = {"mode": mode, **more} if mode else {}
        httpx.post(
            f"{self._painter}/demo/faults", json=body, trust_env=False, verify=NO_TLS
        ).raise_for_status()

    def note_resent(self) -> None:
        """Which jobs were sent to this painter, in its present life, though it knew them: none should be."""
        try:
            told = httpx.get(f"{self._painter}/demo/faults", trust_env=False, timeout=5, verify=NO_TLS).json()
        except (httpx.HTTPError, json.JSONDecodeError):
            return
        self.resent |= set(told["resent"])

    # The fail points.

    def set_point(self, name: str, point: str, what: str) -> None:
        """The next pass of this process at the point kills it (`kill`) or has it stand still (`pause`)."""
        (self._points[name] / f"{point}.{what}").touch()

    def has_passed(self, name: str, point: str, what: str) -> bool:
        passed = (self._points[name] / f"{point}.{what}{PASSED}").exists()
        return passed and (what == "pause" or self.is_dead(name))

    def go_on(self, name: str, point: str) -> None:
        """The process that stands still at this point may go on."""
        (self._points[name] / f"{point}.pause{PASSED}").unlink()

    def clear_points(self) -> None:
        """Whoever stands still goes on."""
        for folder in self._points.values():
            for file in folder.iterdir():
                file.unlink(missing_ok=True)
