"""`users ban` and `unban`, and `--id` of all commands that have an account argument."""

import json

import pytest

from tests.cli.conftest import Type
from tests.cli.test_admin import registered
from tests.event_store.helpers import log_rows


def topics(dsn: str) -> list[str]:
    return [topic for (topic,) in log_rows(dsn, "topic")]


def test_an_account_is_banned_and_unbanned(type_in: Type, database_url: str) -> None:
    registered(database_url, "安妮")
    assert type_in("users", "ban", "安妮", "--reason", "spam") == (0, "安妮 is banned now\n", "")
    assert type_in("users", "ban", "安妮", "--reason", "spam") == (1, "", "huajuan: 安妮 is already banned\n")
    assert type_in("users", "unban", "--reason", "forgiven", "安妮") == (0, "安妮 is banned no more\n", "")
    assert type_in("users", "unban", "安妮", "--reason", "x") == (1, "", "huajuan: 安妮 is not banned\n")
    reasons = [line.rpartition("：")[2] for line in type_in("timeline", "安妮").out.splitlines()[:2]]
    assert reasons == ["forgiven", "spam"]
    actors = "convert_from(state, 'UTF8')::jsonb->>'actor'"
    assert log_rows(database_url, actors)[1:] == [(None,)] * 2


def test_the_operator_bans_the_last_admin(type_in: Type, database_url: str) -> None:
    registered(database_url, "ann")
    assert type_in("admin", "grant", "ann").status == 0
    assert type_in("users", "ban", "ann", "--reason", "spam").status == 0


@pytest.mark.parametrize("name", ["a/b", "..", "--id", "x\u2060", "\x1b[2J"])
def test_every_command_takes_an_id(type_in: Type, database_url: str, name: str) -> None:
    registered(database_url, "first")
    registered(database_url, name)
    shown = name if name.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in name)
    assert type_in("points", "--id", "2", "+50", "--reason", "x").out == f"{shown} has 50 points now\n"
    assert type_in("points", "-20", "--reason", "x", "--id=2").out == f"{shown} has 30 points now\n"
    assert type_in("admin", "grant", "--id", "2").out == f"{shown} is an admin now\n"
    assert type_in("admin", "revoke", "--reason", "x", "--id", "2").out == f"{shown} is no admin any more\n"
    assert type_in("users", "ban", "--reason", "x", "--id", "2").out == f"{shown} is banned now\n"
    assert type_in("users", "unban", "--id", "2", "--reason", "x").out == f"{shown} is banned no more\n"
    lines = [json.loads(line) for line in type_in("timeline", "--json", "--id", "2").out.splitlines()]
    assert [line["event"] for line in lines] == topics(database_url)[:0:-1]
    replayed = json.loads(type_in("replay", "--id", "2", "--json").out)
    assert [entry["balance"] for entry in replayed["entries"]] == [0, 50, 30]


@pytest.mark.parametrize(
    "arguments",
    [
        ("points", "--id", "2", "+5", "--reason", "x"), ("users", "ban", "--id", "2", "--reason", "x"),
        ("admin", "grant", "--id", "2"), ("timeline", "--id", "2"), ("replay", "--id", "2"),
        ("timeline", "--id", "9" * 18),
    ],
)  # fmt: skip
def test_an_unknown_id_is_one_line(type_in: Type, database_url: str, arguments: tuple[str, ...]) -> None:
    """The event at position 2 is not a registration."""
    registered(database_url, "ann")
    type_in("points", "ann", "+5", "--reason", "x")
    before = topics(database_url)
    number = arguments[arguments.index("--id") + 1]
    assert type_in(*arguments) == (1, "", f"huajuan: there is no account with the id {number}\n")
    assert topics(database_url) == before


@pytest.mark.parametrize("number", ["0", "-3", "x", "1.0", "١", "9" * 30])
def test_an_id_is_a_number(
    type_in: Type, database_url: str, capsys: pytest.CaptureFixture[str], number: str
) -> None:
    with pytest.raises(SystemExit) as refused:
        type_in("users", "ban", f"--id={number}", "--reason", "x")
    assert refused.value.code == 1
    assert repr(number) in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [("users", "ban", "ann", "--id", "1", "--reason", "x"), ("timeline", "ann", "--id", "1")]
)
def test_a_name_together_with_an_id_is_rejected(
    type_in: Type, database_url: str, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    registered(database_url, "ann")
    with pytest.raises(SystemExit) as refused:
        type_in(*arguments)
    assert refused.value.code == 1
    assert topics(database_url) == ["account.registered"]


def test_a_name_together_with_an_abbreviated_id_is_rejected(type_in: Type, database_url: str) -> None:
    registered(database_url, "ann")
    said = type_in("timeline", "ann", "--i", "1")
    assert (said.status, said.err) == (
        1, "huajuan: give the account's name or --id, not both\n",
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [("users", "ban", "ann"), ("users", "promote", "ann"), ("users",)])
def test_a_ban_needs_a_reason(type_in: Type, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as refused:
        type_in(*arguments)
    assert refused.value.code == 1


def test_a_name_after_two_dashes_is_a_name(type_in: Type, database_url: str) -> None:
    registered(database_url, "--id")
    assert type_in("users", "ban", "--reason", "x", "--", "--id").out == "--id is banned now\n"
