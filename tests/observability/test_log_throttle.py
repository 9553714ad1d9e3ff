"""Repeated warnings: the first one at once, then one a minute with the number of the others."""

import json
import logging
from typing import Any

import pytest
import structlog

from huajuan.observability import logs
from huajuan.observability.log_throttle import KEPT_MAX, REPEAT_SECONDS, Throttle
from huajuan.observability.logs import configure_logs
from tests.observability.test_logs import logs_put_back

__all__ = ["logs_put_back"]
Said = pytest.CaptureFixture[str]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(logs, "Throttle", lambda: Throttle(clock))
    return clock


def lines(said: Said) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.readouterr().err.splitlines()]


def test_one_a_minute_with_a_count(clock: Clock, capsys: Said) -> None:
    configure_logs(readable=False)
    logger = structlog.get_logger("huajuan.a")
    for saves in range(1000):
        logger.warning("log connection lost", error="ReadOnlySqlTransaction", saves=saves)
    (line,) = lines(capsys)
    assert "repeated" not in line
    clock.now += REPEAT_SECONDS
    logger.warning("log connection lost", error="ReadOnlySqlTransaction", saves=1)
    logger.warning("log connection lost", error="ReadOnlySqlTransaction", saves=1)
    (line,) = lines(capsys)
    assert (line["event"], line["repeated"]) == ("log connection lost", 999)


def test_warnings_that_differ_in_more_than_numbers_are_all_written(clock: Clock, capsys: Said) -> None:
    configure_logs(readable=False)
    logger = structlog.get_logger("huajuan.b")
    for server in ("http://a", "http://b"):
        logger.warning("server unreachable", host=server)
    logger.warning("server unreachable", host="http://a", detail="refused")
    assert len(lines(capsys)) == 3


@pytest.mark.parametrize("level", ["info", "error"])
def test_other_levels_are_all_written(clock: Clock, capsys: Said, level: str) -> None:
    configure_logs(readable=False)
    logger = structlog.get_logger("huajuan.c")
    for _ in range(3):
        getattr(logger, level)("request", status=503)
    assert len(lines(capsys)) == 3


def test_warnings_of_libraries_are_throttled(clock: Clock, capsys: Said) -> None:
    configure_logs(readable=False)
    library = logging.getLogger("psycopg.pool")
    for attempt in range(10):
        library.warning("error connecting: attempt %d after %.1f s", attempt, attempt / 3)
    assert len(lines(capsys)) == 1
    clock.now += REPEAT_SECONDS
    library.warning("error connecting: attempt %d after %.1f s", 11, 1.5)
    (line,) = lines(capsys)
    assert line["event"] == "error connecting: attempt 11 after 1.5 s (repeated 9 times)"


def test_the_memory_is_bounded() -> None:
    throttle = Throttle(Clock())
    for number in range(10 * KEPT_MAX):
        assert throttle.admit((str(number),)) == 0
        assert throttle.admit((str(number),)) is None
    assert len(throttle._written_at) == KEPT_MAX
    assert len(throttle._dropped) <= KEPT_MAX
