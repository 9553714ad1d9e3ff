"""The progress bar on a terminal."""

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from huajuan.cli.output import progress


def test_the_bar_shows_the_stage_from_its_first_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    told = io.StringIO()
    console = Console(file=told, force_terminal=True, width=100)
    monkeypatch.setattr("rich.console.Console", lambda **_: console)
    monkeypatch.setattr("sys.stderr", SimpleNamespace(isatty=lambda: True))
    with progress("verify", 1_234_567) as done:
        done(0)
        done(4_321)
        done(1_234_567)
    frames = [
        frame
        for frame in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", told.getvalue()))
        if frame
    ]
    assert all(frame.startswith("verify ") for frame in frames), frames
    assert "/?" not in told.getvalue()
    assert not re.search(r"(?<![0-9,])0/s", frames[0])
    assert "1,234,567/1,234,567" in frames[-1]
