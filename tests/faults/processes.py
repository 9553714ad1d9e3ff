"""The processes under test: two services on one database, the demo ComfyUI and Postgres."""

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
from huajuan.event_store.writer import EventStoreLimits
from huajuan.inference_client import ClientLimits
from huajuan.jobs.queue import DispatchLimits
from huajuan.runtime.fail_points import FOLDER, MARK, PASSED
from tests.database import eventually, fast_folder, kill_server, passable_folder
from tests.faults.fork_server import ForkServer
from tests.loopback import NO_TLS
from tests.server.processes import PROC
from tests.server.service import environment

DATABASE = "faults"
SERVICES = ("api", "dispatcher")
STEP_SECONDS = 0.03
BELOW_EPHEMERAL = (20_000, 32_000)
READY = "Ctrl-C stops it"
# Intervals short enough for a test, and long enough to draw a picture.
FAST_SETTINGS: dict[str, Any] = {
    "welcome_points": 100_000,
    "bcrypt_cost": 4,
    "workers": 1,
    "job_seconds_max": 15,
    "no_server_timeout_seconds": 3,
    "comfyui_unreachable_seconds_max": 3,
    "jobs": DispatchLimits(
        lease_seconds=1,
        heartbeat_seconds=0.2,
        claim_interval_seconds=0.2,
        unreachable_cooldown_seconds_max=0.5,
        orphan_lease_seconds_max=4,
        orphan_lease_pause_seconds=0.2,
        overdue_interval_seconds=0.3,
        wait_poll_seconds=0.3,
        cooldown_seconds_min=0.1,
        cooldown_seconds_max=0.5,
        stop_seconds_max=1,
    ),
    "inference_client": ClientLimits(
        lost_seconds_max=0.5,
        history_seconds_max=0.5,
        poll_seconds_min=0.05,
        retry_seconds=0.05,
        socket_retry_seconds_min=0.1,
        socket_retry_seconds_max=0.5,
    ),
    "event_store": EventStoreLimits(reconnect_pause_seconds_max=0.2),
    "stop_seconds_max": 1,
}


def reserve_port() -> int:
    """Return a free port below the ephemeral range, so that no outgoing connection takes it meanwhile."""
    while True:
        port = random.randrange(*BELOW_EPHEMERAL)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Processes:
    """Use as a context manager. `broken` names the broken build that the services run."""

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.kills: Counter[str] = Counter()
        self.pids: dict[str, int] = {}
        self.resent: set[str] = set()
        self._comfyui_port = reserve_port()
        self._ports = {name: reserve_port() for name in SERVICES}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = stack.enter_context(passable_folder(fast_folder()))
            self.pictures = self._make_folder("pictures")
            self._points = {name: self._make_folder(f"points-{name}") for name in (*SERVICES, "client")}
            # Survives killed processes without fsync; the machine itself does not fail.
            root = self.folder / "postgres"
            server = EmbeddedPostgres(root, settings={"fsync": "off"}, die_with_parent=True)
            self.postgres = stack.enter_context(server)
            with psycopg.connect(self.postgres.dsn(), autocommit=True) as connection:
                connection.execute(f"create database {DATABASE}".encode())
            self._fork_server = ForkServer()
            stack.callback(self._fork_server.close)
            self._start_all()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _make_folder(self, name: str) -> Path:
        (self.folder / name).mkdir()
        return self.folder / name

    def _start_all(self) -> None:
        self.start("comfyui")
        for name in SERVICES:
            self.start(name)

    @property
    def dsn(self) -> str:
        return self.postgres.dsn(DATABASE)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._ports['api']}"

    def start(self, name: str) -> None:
        """Start the process and wait until it is ready."""
        if name == "postgres":
            self.postgres.start()
        elif name == "comfyui":
            words = {"port": self._comfyui_port, "step_seconds": STEP_SECONDS, "folder": str(self.folder)}
            self.pids[name] = self._fork_server.start("comfyui", self.log(name), {}, **words)
            eventually(lambda: self._comfyui_responds() or self._has_ended(name))
        else:
            seen = self.output(name).count(READY)
            self.pids[name] = self._fork_server.start(
                name, self.log(name), self._settings(name), broken=self.broken
            )
            eventually(lambda: self.output(name).count(READY) > seen or self._has_ended(name))

    def start_client(self, verb: str, account: str, image: str = "") -> str:
        """Run one call in a process of its own; return the image id."""
        words = {"verb": verb, "account": account, "image": image or str(uuid4()), "broken": self.broken}
        self.pids["client"] = self._fork_server.start(
            "client", self.log("client"), self._settings("client"), **words
        )
        return words["image"]

    def kill(self, name: str) -> None:
        """Send SIGKILL and wait until the process is gone."""
        if name == "comfyui":
            self.record_resent()
        if name == "postgres":
            kill_server(self.postgres)
        elif not self.is_dead(name):
            os.kill(self.pids[name], signal.SIGKILL)
        self.kills[name] += 1
        eventually(lambda: self.is_dead(name))

    def is_dead(self, name: str) -> bool:
        if name == "postgres":
            return self.postgres.running() is None
        # The threads of a zombie may still hold its port; the fork server reaps ended processes.
        return name not in self.pids or not (PROC / str(self.pids[name])).exists()

    def restart_dead(self) -> None:
        for name in ("postgres", "comfyui", *SERVICES):
            if self.is_dead(name):
                self.start(name)

    def run_cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a CLI command while the services run."""
        command = [sys.executable, "-P", "-m", "huajuan", *words]
        variables = environment(database_url=self.dsn, data_dir=self.folder / "data-operator")
        return subprocess.run(
            command, env=variables, cwd=self.folder, capture_output=True, text=True, timeout=120
        )

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def output(self, name: str) -> str:
        return self.log(name).read_text(errors="replace") if self.log(name).exists() else ""

    def _settings(self, name: str) -> dict[str, object]:
        own = {
            "data_dir": self.folder / f"data-{name}",
            "database_url": self.dsn,
            "storage_url": self.pictures,
            "comfyui_urls": self._comfyui,
            "jwt_secret": "a secret of at least thirty-two bytes",
            "port": self._ports.get(name, 0) or reserve_port(),
        }
        marks = {FOLDER: self._points[name], MARK: 1}
        return FAST_SETTINGS | own | marks

    def _has_ended(self, name: str) -> bool:
        assert not self.is_dead(name), self.output(name)[-2000:]
        return False

    @property
    def _comfyui(self) -> str:
        return f"http://127.0.0.1:{self._comfyui_port}"

    def _comfyui_responds(self) -> bool:
        try:
            return httpx.get(f"{self._comfyui}/queue", trust_env=False, verify=NO_TLS).is_success
        except httpx.HTTPError:
            return False

    def misbehave(self, mode: str = "", **more: object) -> None:
        """Make the demo ComfyUI fail its next job in this way; an empty mode ends that."""
        body = {"mode": mode, **more} if mode else {}
        httpx.post(
            f"{self._comfyui}/demo/faults", json=body, trust_env=False, verify=NO_TLS
        ).raise_for_status()

    def record_resent(self) -> None:
        """Record the jobs that the running demo ComfyUI received twice."""
        try:
            found = httpx.get(
                f"{self._comfyui}/demo/faults", trust_env=False, timeout=5, verify=NO_TLS
            ).json()
        except (httpx.HTTPError, json.JSONDecodeError):
            return
        self.resent |= set(found["resent"])

    def set_point(self, name: str, point: str, action: str) -> None:
        """At its next pass of the point the process kills itself (`kill`) or waits (`pause`)."""
        (self._points[name] / f"{point}.{action}").touch()

    def has_passed(self, name: str, point: str, action: str) -> bool:
        passed = (self._points[name] / f"{point}.{action}{PASSED}").exists()
        return passed and (action == "pause" or self.is_dead(name))

    def resume(self, name: str, point: str) -> None:
        """Let the process that waits at this point continue."""
        (self._points[name] / f"{point}.pause{PASSED}").unlink()

    def clear_points(self) -> None:
        """Remove all points; waiting processes continue."""
        for folder in self._points.values():
            for file in folder.iterdir():
                file.unlink(missing_ok=True)
