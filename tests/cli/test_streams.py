"""Words and standard streams as a shell may give them: no UTF-8, closed, full, or read by somebody who left."""

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
    """`huajuan` in the script is ours."""
    whole = f'huajuan() {{ "{sys.executable}" -P -m huajuan "$@"; }}; {script}'
    given: dict[str, Any] = {"env": environment(database_url=dsn), "cwd": CHECKOUT}
    return subprocess.run(["bash", "-c", whole], capture_output=True, timeout=PATIENCE_SECONDS, **given)


@pytest.mark.parametrize("verb", ["export", "timeline person0", "verify --json", "head", "status"])
def test_who_reads_no_more_hears_no_more(lived: str, verb: str) -> None:
    said = shell(lived, f"huajuan {verb} | true; exit ${{PIPESTATUS[0]}}")
    assert b"huajuan:" not in said.stderr
    assert b"Error" not in said.stderr
    assert said.returncode == 141


def test_without_standard_error_the_results_are_told_all_the_same(lived: str) -> None:
    said = shell(lived, "huajuan verify --json 2>&-")
    assert (said.returncode, json.loads(said.stdout)["whole"]) == (0, True)


def test_what_goes_wrong_without_standard_error_has_its_exit_status(lived: str) -> None:
    assert shell(lived, "huajuan replay nobody 2>&-").returncode == 1


@pytest.mark.parametrize(
    ("where", "why"), [(">/dev/full", b"No space left"), (">&-", b"Bad file descriptor")]
)
@pytest.mark.parametrize("verb", ["head", "export"])
def test_results_that_cannot_be_written_are_no_success(lived: str, verb: str, where: str, why: bytes) -> None:
    said = shell(lived, f"huajuan {verb} {where}")
    assert said.returncode == 1
    (line,) = [line for line in said.stderr.splitlines() if b"export: " not in line]
    assert line.startswith(b"huajuan: [Errno ")
    assert why in line


def test_standard_output_by_its_name_keeps_what_stands_in_it(lived: str, tmp_path: Path) -> None:
    file, link = tmp_path / "both", tmp_path / "link"
    # By a link, so that a fault cannot harm the machine.
    link.symlink_to("/dev/stdout")
    assert shell(lived, f"(echo first; huajuan head --out {link}; echo last) >{file}").returncode == 0
    assert link.is_symlink()
    lines = file.read_text().splitlines()
    assert (lines[0], lines[1], lines[-1]) == ("first", "{", "last")


@pytest.mark.parametrize(
    "words",
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
def test_a_word_that_is_no_text_is_told_in_one_line(words: str) -> None:
    number = len(words.split()) + 1
    said = shell("postgresql://127.0.0.1:1/nowhere", f"huajuan {words} $'ba\\xff'")
    line = f"huajuan: word {number} of the command line is not UTF-8\n".encode()
    assert (said.returncode, said.stdout, said.stderr) == (1, b"", line)
