"""Logs: JSON or text, the request id on each line, no secrets."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import structlog

from huajuan.observability.logs import REQUEST_ID, configure_logs

Said = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def logs_put_back() -> Iterator[None]:
    """Tests use new loggers, because a used one keeps its first configuration."""
    yield
    configure_logs(readable=True)


def lines(said: Said) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.readouterr().err.splitlines()]


def stumble(logger: Any, said: str) -> None:
    """Logs an exception whose frame has a secret in a variable."""
    password = "correct horse"
    try:
        raise ValueError(len(password))
    except ValueError:
        logger.exception(said)


def test_a_line_is_json_without_a_terminal(capsys: Said) -> None:
    configure_logs()
    structlog.get_logger("huajuan.http").info("request", path="/login", status=401)
    (line,) = lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "request", "level": "info", "path": "/login", "status": 401}


async def test_a_database_error_contains_no_row_values(database_url: str, capsys: Said) -> None:
    """On a terminal, in JSON, and as the cause of another error."""
    for readable in (False, True):
        configure_logs(readable=readable)
        try:
            try:
                with psycopg.connect(database_url) as connection:
                    connection.execute("CREATE TABLE told (prompt text CHECK (prompt <> 'a secret'))")
                    connection.execute("INSERT INTO told VALUES ('a secret')")
            except psycopg.Error as error:
                raise RuntimeError("it failed") from error
        except RuntimeError:
            structlog.get_logger("huajuan.x").exception("stopped")
        said = capsys.readouterr().err
        assert "secret" not in said.replace("'a secret')", "")
        assert "CheckViolation: 23514 public told told_prompt_check" in said
        assert "RuntimeError: it failed" in said


def test_lines_of_libraries_are_json(capsys: Said) -> None:
    configure_logs()
    logging.getLogger("somebody.else").warning("%s is late", "the train")
    (line,) = lines(capsys)
    assert (line["event"], line["level"]) == ("the train is late", "warning")


def test_each_line_has_the_id_of_the_request(capsys: Said) -> None:
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
def test_a_secret_is_hidden_by_its_name(name: str, readable: bool, capsys: Said) -> None:
    configure_logs(readable=readable)
    structlog.get_logger().warning("said", **{name: "correct horse"})
    said = capsys.readouterr().err
    assert name in said
    assert "correct horse" not in said


@pytest.mark.parametrize("readable", [True, False])
def test_a_traceback_shows_no_variables(readable: bool, capsys: Said) -> None:
    configure_logs(readable=readable)
    stumble(structlog.get_logger(), "ours")
    stumble(logging.getLogger("somebody.else"), "theirs")
    said = capsys.readouterr().err
    assert said.count("ValueError: 13") == 2
    assert said.count("in stumble") == 2
    assert said.count("raise ValueError(len(password))") == 2
    assert "correct horse" not in said.replace('password = "correct horse"', "")


def test_a_traceback_stays_on_its_json_line(capsys: Said) -> None:
    configure_logs(readable=False)
    stumble(structlog.get_logger(), "ours")
    (line,) = lines(capsys)
    assert line["exception"].splitlines()[-1] == "ValueError: 13"


@pytest.mark.parametrize("readable", [True, False])
def test_chinese_stays_readable(readable: bool, capsys: Said) -> None:
    configure_logs(readable=readable)
    structlog.get_logger().info("said", message="画卷")
    assert "画卷" in capsys.readouterr().err


def test_a_terminal_gets_text(capsys: Said) -> None:
    configure_logs(readable=True)
    structlog.get_logger().warning("demo painter died", exit_code=-9)
    said = capsys.readouterr().err
    assert "demo painter died" in said
    assert "{" not in said


@pytest.mark.parametrize(("status", "logged"), [(200, 0), (503, 1)])
def test_only_a_failing_health_check_is_logged(status: int, logged: int, capsys: Said) -> None:
    configure_logs(readable=False)
    structlog.get_logger().info("request", path="/healthz", status=status)
    assert len(lines(capsys)) == logged


def test_a_client_library_logs_no_addresses(capsys: Said) -> None:
    configure_logs(readable=False)
    logging.getLogger("httpx").info("HTTP Request: GET http://painter/history/…")
    logging.getLogger("uvicorn.error").info("Started server process")
    assert lines(capsys) == []
