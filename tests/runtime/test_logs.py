"""Logs: JSON or text, the request id on each line, no secrets, repeated warnings once a minute."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import structlog

from huajuan.runtime import logs
from huajuan.runtime.logs import KEPT_MAX, REPEAT_SECONDS, REQUEST_ID, Throttle, configure_logs

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def logs_put_back() -> Iterator[None]:
    """Tests use new loggers, because a used one keeps its first configuration."""
    yield
    configure_logs(readable=True)


def lines(written: Captured) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.readouterr().err.splitlines()]


def stumble(logger: Any, written: str) -> None:
    """Logs an exception whose frame has a secret in a variable."""
    password = "correct horse"
    try:
        raise ValueError(len(password))
    except ValueError:
        logger.exception(written)


def test_a_line_is_json_without_a_terminal(capsys: Captured) -> None:
    configure_logs()
    structlog.get_logger("huajuan.http").info("request", path="/login", status=401)
    (line,) = lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "request", "level": "info", "path": "/login", "status": 401}


async def test_a_database_error_contains_no_row_values(database_url: str, capsys: Captured) -> None:
    """On a terminal, in JSON, and as the cause of another error."""
    for readable in (False, True):
        configure_logs(readable=readable)
        try:
            try:
                with psycopg.connect(database_url) as connection:
                    connection.execute("CREATE TABLE prompts (prompt text CHECK (prompt <> 'a secret'))")
                    connection.execute("INSERT INTO prompts VALUES ('a secret')")
            except psycopg.Error as error:
                raise RuntimeError("it failed") from error
        except RuntimeError:
            structlog.get_logger("huajuan.x").exception("stopped")
        written = capsys.readouterr().err
        assert "secret" not in written.replace("'a secret')", "")
        assert "CheckViolation: 23514 public prompts prompts_prompt_check" in written
        assert "RuntimeError: it failed" in written


def test_lines_of_libraries_are_json(capsys: Captured) -> None:
    configure_logs()
    logging.getLogger("somebody.else").warning("%s is late", "the train")
    (line,) = lines(capsys)
    assert (line["event"], line["level"]) == ("the train is late", "warning")


def test_each_line_has_the_id_of_the_request(capsys: Captured) -> None:
    configure_logs()
    token = REQUEST_ID.set("r-1")
    structlog.get_logger().info("ours")
    logging.getLogger("somebody.else").warning("theirs")
    REQUEST_ID.reset(token)
    structlog.get_logger().info("later")
    assert [line.get("request_id") for line in lines(capsys)] == ["r-1", "r-1", None]


@pytest.mark.parametrize("readable", [True, False])
@pytest.mark.parametrize(
    "name", ["authorization", "password", "password_hash", "prompt", "token", "email", "key"]
)
def test_a_secret_is_hidden_by_its_name(name: str, readable: bool, capsys: Captured) -> None:
    configure_logs(readable=readable)
    structlog.get_logger().warning("said", **{name: "correct horse"})
    written = capsys.readouterr().err
    assert name in written
    assert "correct horse" not in written


@pytest.mark.parametrize("readable", [True, False])
def test_a_traceback_shows_no_variables(readable: bool, capsys: Captured) -> None:
    configure_logs(readable=readable)
    stumble(structlog.get_logger(), "ours")
    stumble(logging.getLogger("somebody.else"), "theirs")
    written = capsys.readouterr().err
    assert written.count("ValueError: 13") == 2
    assert written.count("in stumble") == 2
    assert written.count("raise ValueError(len(password))") == 2
    assert "correct horse" not in written.replace('password = "correct horse"', "")


def test_a_traceback_stays_on_its_json_line(capsys: Captured) -> None:
    configure_logs(readable=False)
    stumble(structlog.get_logger(), "ours")
    (line,) = lines(capsys)
    assert line["exception"].splitlines()[-1] == "ValueError: 13"


@pytest.mark.parametrize("readable", [True, False])
def test_chinese_stays_readable(readable: bool, capsys: Captured) -> None:
    configure_logs(readable=readable)
    structlog.get_logger().info("said", message="画卷")
    assert "画卷" in capsys.readouterr().err


def test_a_terminal_gets_text(capsys: Captured) -> None:
    configure_logs(readable=True)
    structlog.get_logger().warning("demo painter died", exit_code=-9)
    written = capsys.readouterr().err
    assert "demo painter died" in written
    assert "{" not in written


@pytest.mark.parametrize(("status", "logged"), [(200, 0), (503, 1)])
def test_only_a_failing_health_check_is_logged(status: int, logged: int, capsys: Captured) -> None:
    configure_logs(readable=False)
    structlog.get_logger().info("request", path="/healthz", status=status)
    assert len(lines(capsys)) == logged


def test_a_client_library_logs_no_addresses(capsys: Captured) -> None:
    configure_logs(readable=False)
    logging.getLogger("httpx").info("HTTP Request: GET http://painter/history/…")
    logging.getLogger("uvicorn.error").info("Started server process")
    assert lines(capsys) == []


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


def test_one_a_minute_with_a_count(clock: Clock, capsys: Captured) -> None:
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


def test_warnings_that_differ_in_more_than_numbers_are_all_written(clock: Clock, capsys: Captured) -> None:
    configure_logs(readable=False)
    logger = structlog.get_logger("huajuan.b")
    for server in ("http://a", "http://b"):
        logger.warning("server unreachable", host=server)
    logger.warning("server unreachable", host="http://a", detail="refused")
    assert len(lines(capsys)) == 3


@pytest.mark.parametrize("level", ["info", "error"])
def test_other_levels_are_all_written(clock: Clock, capsys: Captured, level: str) -> None:
    configure_logs(readable=False)
    logger = structlog.get_logger("huajuan.c")
    for _ in range(3):
        getattr(logger, level)("request", status=503)
    assert len(lines(capsys)) == 3


def test_warnings_of_libraries_are_throttled(clock: Clock, capsys: Captured) -> None:
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
