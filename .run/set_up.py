"""Creates the virtual environment from the locks, once, by one process at a time."""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

from progress import say, watched

TURN_SECONDS = 900
POLL_SECONDS = 0.1
# Inside the environment: no other folder has to be writable.
LOCK = ".huajuan-lock"
PIP_THAT_SERVES_ANOTHER_PYTHON = (22, 3)
NEEDED = "Python's venv and pip are needed; on Debian and Ubuntu: apt-get install python3-venv"


class Environment:
    """A virtual environment with two parts: the packages of the service, and those of tests and checks."""

    def __init__(self, root: Path, folder: Path, *, ours: bool) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self._locks = {"run": root / "requirements.lock", "dev": root / "requirements-dev.lock"}
        self._ours = ours

    def set_up(self, parts: Iterable[str]) -> None:
        """Installs the missing parts; exits with a message if that is impossible."""
        if all(self._state(part) == "fresh" for part in parts):
            return
        try:
            if self.folder.exists():
                self._refuse_foreign()
            with self._turn():
                self._install(parts)
        except OSError as error:
            sys.exit(f"cannot set up {self.folder} ({error}): set HUAJUAN_VENV to a folder you may write to.")

    def _state(self, part: str) -> Literal["fresh", "stale", "absent"]:
        """Current, made from another lock or Python, or never installed."""
        if not self.python.exists():
            return "stale"
        try:
            return "fresh" if self._mark(part).read_text() == self._stamp(part) else "stale"
        except FileNotFoundError:
            return "absent"

    def _stamp(self, part: str) -> str:
        """The lock and the Python from which the part must have been made."""
        made_from = self._locks[part].read_bytes() + ".".join(map(str, sys.version_info[:2])).encode()
        return hashlib.sha256(made_from).hexdigest()

    def _mark(self, part: str) -> Path:
        return self.folder / f".huajuan-{part}"

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Waits for other runs that set up the same environment, and for the installer of a killed one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("a") as lock:
            _wait_for(lock)
            os.set_inheritable(lock.fileno(), True)
            yield

    def _install(self, parts: Iterable[str]) -> None:
        """The stamps are written last, so that a killed set-up is repeated."""
        if self._state("run") != "fresh" or self._state("dev") == "stale":
            self._make_empty()
        missing = [part for part in parts if self._state(part) != "fresh"]
        began = time.monotonic()
        if missing:
            self._install_locks([self._locks[part] for part in missing])
            say(f"set up {self.folder} in {time.monotonic() - began:.0f} s")
        for part in missing:
            self._mark(part).write_text(self._stamp(part))

    def _make_empty(self) -> None:
        """Without pip the environment is created quickly, and Debian's python3 needs no python3-venv."""
        self._refuse_foreign()
        for path in self._content():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        command = [sys.executable, "-m", "venv", "--without-pip", str(self.folder)]
        done = subprocess.run(command, stderr=subprocess.PIPE, check=False)
        if done.returncode:
            sys.exit(f"cannot make {self.folder}. {NEEDED}\n{done.stderr.decode(errors='replace')}")
        self._mark("made").touch()

    def _refuse_foreign(self) -> None:
        """A folder that is not ours is never emptied."""
        made_by_us = self._ours or self._mark("made").exists()
        if not made_by_us and self._content():
            sys.exit(
                f"HUAJUAN_VENV={self.folder} was not made by ./run: name a folder that does not exist yet."
            )

    def _content(self) -> "list[Path]":
        return [path for path in self.folder.iterdir() if path.name != LOCK]

    def _install_locks(self, locks: list[Path]) -> None:
        """With uv if it exists, else with pip; a package without its hash in the lock is rejected."""
        files = [word for lock in locks for word in ("-r", str(lock))]
        what = ["install", "--require-hashes", "--no-deps", "--only-binary", ":all:", *files]
        packages = sum(len(re.findall("^[a-z0-9]", lock.read_text(), re.MULTILINE)) for lock in locks)
        if not self._by_uv(what, packages):
            self._by_pip(what, packages)
        if sys.dont_write_bytecode:
            self._compile()

    def _by_uv(self, what: list[str], packages: int) -> bool:
        """uv may have another index than pip, so pip is tried if uv fails."""
        uv = shutil.which("uv")
        return bool(uv) and watched([str(uv), "pip", *what, "--python", str(self.python)], packages) is None

    def _by_pip(self, what: list[str], packages: int) -> None:
        """Without compilation, which would take a third of the time:

        Python compiles modules at their first use.
        """
        options = ["--no-compile", "--no-input", "--disable-pip-version-check"]
        complaint = watched([*self._pip(), *what, *options], packages)
        if complaint is not None:
            sys.exit(f"{complaint}\n\nThe locked packages could not be installed; pip says why above.")

    def _pip(self) -> list[str]:
        """This Python's own pip if it can install for another Python, else one in the environment."""
        if importlib.util.find_spec("pip") and _version_of("pip") >= PIP_THAT_SERVES_ANOTHER_PYTHON:
            return [sys.executable, "-m", "pip", "--python", str(self.python)]
        done = subprocess.run([self.python, "-m", "ensurepip"], capture_output=True, check=False)
        if done.returncode:
            sys.exit(f"This Python has no way to install packages. {NEEDED}")
        return [str(self.python), "-m", "pip"]

    def _compile(self) -> None:
        """Compiles the packages if Python may not write bytecode later (PYTHONDONTWRITEBYTECODE)."""
        command = [str(self.python), "-m", "compileall", "-q", "-j", "0", str(self.folder / "lib")]
        subprocess.run(command, capture_output=True, check=False)


def _version_of(package: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", importlib.metadata.version(package))[:2])


def _wait_for(lock: IO[str]) -> None:
    for attempt in range(int(TURN_SECONDS / POLL_SECONDS)):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt == 0:
                say("another ./run is setting up; waiting for it")
            time.sleep(POLL_SECONDS)
        else:
            return
    sys.exit(f"another ./run has been setting up for {TURN_SECONDS} s: end it, then try again.")
