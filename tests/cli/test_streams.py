"""Arguments that are not UTF-8, and standard streams that are closed, full, or without a reader."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_files import lived
from tests.server.service import CHECKOUT, PATIENCE_SECONDS, environment

__all__ = ["lived"]


def shell(dsn: str, script: str) -> "subprocess.CompletedProcess[bytes]":
    """Runs a shell script in which `huajuan` is the command under test."""
    whole = f'huajuan() {{ "{sys.executable}" -P -m huajuan "$@"; }}; {script}'
    given: dict[str, Any] = {"env": environment(database_url=dsn), "cwd": CHECKOUT}
    return subprocess.run(["bash", "-c", whole], capture_output=True, timeout=PATIENCE_SECONDS, **given)


@pytest.mark.parametrize("verb", ["export", "timeline person0", "verify --json", "head", "status"])
def test_a_broken_pipe_is_silent(lived: str, verb: str) -> None:
    said = shell(lived, f"huajuan {verb} | true; exit ${{PIPESTATUS[0]}}")
    assert b"huajuan:" not in said.stderr
    assert b"Error" not in said.stderr
    assert said.returncode == 141


def test_results_are_printed_without_standard_error(lived: str) -> None:
    said = shell(lived, "huajuan verify --json 2>&-")
    assert (said.returncode, json.loads(said.stdout)["whole"]) == (0, True)


def test_errors_without_standard_error_have_their_exit_status(lived: str) -> None:
    assert shell(lived, "huajuan replay nobody 2>&-").returncode == 1


@pytest.mark.parametrize(
    ("where", "why"), [(">/dev/full", b"No space left"), (">&-", b"Bad file descriptor")]
)
@pytest.mark.parametrize("verb", ["head", "export"])
def test_unwritable_results_are_a_failure(lived: str, verb: str, where: str, why: bytes) -> None:
    said = shell(lived, f"huajuan {verb} {where}")
    assert said.returncode == 1
    (line,) = [line for line in said.stderr.splitlines() if b"export: " not in line]
    assert line.startswith(b"huajuan: [Errno ")
    assert why in line


def test_dev_stdout_keeps_the_content_of_the_file(lived: str, tmp_path: Path) -> None:
    file, link = tmp_path / "both", tmp_path / "link"
    # By a link, so that a bug cannot harm the machine.
    link.symlink_to("/dev/stdout")
    assert shell(lived, f"(echo first; huajuan head --out {link}; echo last) >{file}").returncode == 0
    assert link.is_symlink()
    lines = file.read_text().splitlines()
    assert (lines[0], lines[1], lines[-1]) == ("first", "{", "last")


@pytest.mark.parametrize(
    "arguments",
    [
        "timeline",
        "replay",
        "points --reason x 5",
        "admin grant",
        "rebuild history --reason",
        "verify",
        "head --out",
    ],
)
def test_an_argument_that_is_not_utf8_is_one_line(arguments: str) -> None:
    number = len(arguments.split()) + 1
    said = shell("postgresql://127.0.0.1:1/nowhere", f"huajuan {arguments} $'ba\\xff'")
    line = f"huajuan: argument {number} of the command line is not UTF-8\n".encode()
    assert (said.returncode, said.stdout, said.stderr) == (1, b"", line)


def test_a_command_ends_without_finalizing_the_interpreter() -> None:
    """A thread of the object store library that returns to a finalized interpreter would abort it."""
    code = (
        "import atexit, huajuan.__main__ as entry; atexit.register(print, 'finalized');"
        "entry.main = lambda: print('result') or 3; entry.run_and_exit()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "result\n", "")
