"""`./run bench` and `./run profile`, without measuring anything."""

import subprocess
import sys

import pytest

from benchmarks.load import ROOT


def told(module: str, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["nothing"], "'nothing' is none of append, growth, reads"),
        (["reads", "--write"], "--write is for a run of all parts"),
        (["--rounds", "0"], "it must be at least 1"),
        (["--seconds", "0"], "it must be more than 0"),
        (["--requests", "10000"], "it must be more than 10,000"),
    ],
)
def test_unknown_measurements_are_rejected_at_once(words: list[str], why: str) -> None:
    status, complaint = told("benchmarks", *words)
    assert status == 2
    assert why in complaint


def test_a_profile_is_of_a_route() -> None:
    status, complaint = told("benchmarks.profile", "FETCH /auth/user/info")
    assert status == 2
    assert "'FETCH /auth/user/info' is no route" in complaint
