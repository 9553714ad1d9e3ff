"""Writes requirements.lock (to run) and requirements-dev.lock (additions for tests and checks) from
pyproject.toml.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUN_LOCK = ROOT / "requirements.lock"
DEV_LOCK = ROOT / "requirements-dev.lock"
COMPILE_SECONDS = 600
# No option may name an index: the person who installs decides where packages come from.
COMPILE = ["pip", "compile", "--quiet", "--universal", "--generate-hashes", "--python-version", "3.11"]
COMPILE += ["--no-annotate", "--no-header", "--no-emit-index-url", "--no-emit-find-links"]


def main(arguments: list[str]) -> None:
    """Resolves in a temporary folder, and replaces the locks only if both are valid."""
    with tempfile.TemporaryDirectory(prefix="huajuan-lock-") as folder:
        run, everything = Path(folder, "run.lock"), Path(folder, "everything.lock")
        seed(run, RUN_LOCK)
        seed(everything, RUN_LOCK, DEV_LOCK)
        uv = find_uv(Path(folder))
        compile_lock(uv, run, arguments)
        compile_lock(uv, everything, [*arguments, "--group", "dev", "--constraint", str(run)])
        replace(RUN_LOCK, run.read_text())
        replace(DEV_LOCK, added(run.read_text(), everything.read_text()))


def seed(target: Path, *locks: Path) -> None:
    """Starts from the currently locked versions, which stay unless an upgrade is requested."""
    target.write_text("".join(lock.read_text() for lock in locks if lock.exists()))


def find_uv(folder: Path) -> str:
    """uv from PATH, else one in a temporary environment."""
    if found := shutil.which("uv"):
        return found
    python = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "uv"], check=True, timeout=COMPILE_SECONDS)
    return str(python.with_name("uv"))


def compile_lock(uv: str, output: Path, options: list[str]) -> None:
    """Resolves for all supported platforms and Pythons; raises if that fails."""
    command = [uv, *COMPILE, *options, "pyproject.toml", "--output-file", str(output)]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, timeout=COMPILE_SECONDS)


def entries(lock: str) -> list[str]:
    """Each requirement with the lines of its hashes."""
    return re.findall(r"^\S.*\n(?:[ \t].*\n)*", lock, re.MULTILINE)


def added(run: str, everything: str) -> str:
    """The requirements of the second lock that are not in the first."""
    known = set(entries(run))
    return "".join(entry for entry in entries(everything) if entry not in known)


def replace(path: Path, text: str) -> None:
    """Replaces a lock if the new one has no addresses and no options but hashes."""
    if faults := find_faults(text):
        sys.exit(f"{path.name} is refused:\n" + "\n".join(faults))
    path.write_text(text)


def find_faults(text: str) -> list[str]:
    """The lines with an address, an option, or a package without a hash."""
    unhashed = [entry.splitlines()[0] for entry in entries(text) if "--hash=sha256:" not in entry]
    lines = [line for line in text.splitlines() if "://" in line or _is_option(line)]
    return unhashed + lines


def _is_option(line: str) -> bool:
    """Whether the line is a pip option other than the hash of the package above."""
    return line.strip().startswith("-") and not re.fullmatch(r"\s+--hash=sha256:[0-9a-f]{64}( \\)?", line)


if __name__ == "__main__":
    main(sys.argv[1:])
