"""Runs an installer and shows its progress."""

import re
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from subprocess import PIPE, STDOUT, Popen

INSTALL_SECONDS = 1800
END_SECONDS = 10
MOVE_SECONDS = 0.2
PLAIN_LINE_SECONDS = 5
KEPT_OUTPUT_LINES = 40


def say(text: str) -> None:
    """Prints on standard error; standard output belongs to the command."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Progress:
    """One moving line on a terminal; elsewhere a plain line every few seconds."""

    def __init__(self, packages: int) -> None:
        self.output: deque[str] = deque(maxlen=KEPT_OUTPUT_LINES)
        self._packages = packages
        self._seen = 0
        self._doing = "looking for packages"
        self._began = time.monotonic()
        self._next_line = 0
        self._moves = sys.stderr.isatty()

    @property
    def seconds(self) -> int:
        """Whole seconds since the start."""
        return int(time.monotonic() - self._began)

    def read(self, stream: Iterable[str]) -> None:
        """Follows pip's output: one "Collecting" per package, then all are unpacked."""
        for line in stream:
            self.output.append(line.rstrip())
            if line.startswith("Collecting "):
                self._seen += 1
                self._doing = re.split("[ =<>;]", line)[1]
            elif line.startswith("Installing "):
                self._doing = "unpacking them"

    def show(self) -> None:
        """Prints the number of the package, the total, and the elapsed time."""
        text = f"setting up, once: {self._seen} of {self._packages} packages, {self._doing}, {self.seconds} s"
        if self._moves:
            self._rewrite(text[: shutil.get_terminal_size().columns - 1])
        elif self.seconds >= self._next_line:
            self._next_line = self.seconds + PLAIN_LINE_SECONDS
            say(text)

    def end(self) -> None:
        """Clears the terminal's line."""
        if self._moves:
            self._rewrite("")

    def _rewrite(self, text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def watched(command: list[str], packages: int) -> str | None:
    """Runs the installer; returns the end of its output if it failed, else None.

    It inherits the lock of the set-up, so that another set-up cannot begin before it ends.
    """
    progress = Progress(packages)
    with Popen(command, stdout=PIPE, stderr=STDOUT, text=True, close_fds=False) as process:
        reader = threading.Thread(target=progress.read, args=[process.stdout], daemon=True)
        reader.start()
        try:
            _wait(process, progress, reader)
        finally:
            _end(process)
            reader.join(END_SECONDS)
            progress.end()
    return "\n".join(progress.output) if process.returncode else None


def _wait(process: "Popen[str]", progress: Progress, reader: threading.Thread) -> None:
    while process.poll() is None and progress.seconds < INSTALL_SECONDS:
        progress.show()
        reader.join(MOVE_SECONDS)


def _end(process: "Popen[str]") -> None:
    """Ends an installer after a timeout or Ctrl-C, so that it does not continue writing."""
    process.terminate()
    process.wait(END_SECONDS)
