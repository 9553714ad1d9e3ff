"""The audit commands `verify`, `head`, `export` and `replay`."""

import asyncio
import csv
import io
import json
import stat
import sys
from pathlib import Path

import psycopg
import pytest

from huajuan.__main__ import main
from huajuan.audit.exports import open_export
from huajuan.cli.main import COMMANDS, run
from huajuan.projections.history import HISTORY
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.runtime.shutdown import ShutdownRequested
from tests.audit.tampering import REWRITTEN
from tests.cli.conftest import Huajuan
from tests.database import Databases
from tests.projections.gallery import append_history, projecting
from tests.server.service import environment


@pytest.fixture
def lived(database_url: str) -> str:
    async def live() -> None:
        async with projecting(database_url) as (store, projector):
            position = await append_history(store, 3)
            assert await projector.wait_for_position(position, POINT_BALANCES, seconds_max=20)

    asyncio.run(live())
    return database_url


def tamper(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(statement.encode())


CHANGED = "UPDATE log.huajuan_events SET state = state || ' ' WHERE notification_id = 7"


def test_a_whole_log(lived: str, huajuan: Huajuan) -> None:
    said = huajuan(lived, "verify")
    assert said.status == 0
    assert said.out.endswith("\nwhole\n")
    found = json.loads(huajuan(lived, "verify", "--json").out)
    assert (found["whole"], found["damage"], found["heads"]) == (True, None, [])


def test_a_damaged_log(lived: str, huajuan: Huajuan) -> None:
    tamper(lived, CHANGED)
    said = huajuan(lived, "verify")
    assert said.status == 1
    assert said.out.startswith("DAMAGED at position 7: changed: ")
    assert said.out.endswith("\nNOT WHOLE\n")
    assert json.loads(huajuan(lived, "verify", "--json").out)["damage"]["position"] == 7


def test_a_log_that_cannot_be_folded_is_verified(lived: str, huajuan: Huajuan, tmp_path: Path) -> None:
    tamper(lived, "UPDATE log.huajuan_events SET state = 'x', topic = 'no.such' WHERE notification_id = 7")
    with psycopg.connect(lived) as connection:
        connection.execute(f"DROP SCHEMA {HISTORY.schema} CASCADE")
        connection.execute(f"DELETE FROM operations.checkpoints WHERE projection = '{HISTORY.schema}'")
    assert huajuan(lived, "verify").out.startswith("DAMAGED at position 7: changed: ")
    assert huajuan(lived, "export", "--out", tmp_path / "x.jsonl").status == 0
    assert huajuan(lived, "head").status == 0


def test_a_database_without_a_log_is_an_error(huajuan: Huajuan, databases: Databases) -> None:
    name = databases.create()
    for verb in ("verify", "head", "export", "replay"):
        said = huajuan(databases.dsn(name), verb, *(["ann"] if verb == "replay" else []))
        assert (said.status, said.out) == (1, "")
        assert said.err == "huajuan: no server was ever started on this database: it has no tables\n"
    databases.retire(name)


def test_a_signed_head_finds_a_rewritten_log(lived: str, huajuan: Huajuan, tmp_path: Path) -> None:
    head = tmp_path / "head.json"
    assert huajuan(lived, "head", "--sign", "--out", head).status == 0
    key = json.loads(head.read_text())["public_key"]
    assert stat.S_IMODE((tmp_path / "data" / "head.key").stat().st_mode) == 0o600
    assert json.loads(huajuan(lived, "head", "--sign").out)["public_key"] == key, "the key is created once"
    assert huajuan(lived, "verify", "--against", head, "--public-key", key.upper()).status == 0
    with psycopg.connect(lived) as connection:
        connection.execute("SET session_replication_role = replica")
        REWRITTEN(connection, 7)
    assert huajuan(lived, "verify").status == 0
    said = huajuan(lived, "verify", "--against", head)
    assert said.status == 1
    assert "rewritten: an event between positions 1 and " in said.out
    assert said.out.endswith("\nNOT PROVED WHOLE\n")


def test_a_changed_head_is_rejected(lived: str, huajuan: Huajuan, tmp_path: Path) -> None:
    head = tmp_path / "head.json"
    read = json.loads(huajuan(lived, "head", "--sign").out)
    head.write_text(json.dumps(read | {"time": "2001-01-01T00:00:00+00:00"}))
    said = huajuan(lived, "verify", "--against", head)
    assert said.status == 1
    assert "its signature is not valid: it proves nothing" in said.out


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz"])
def test_an_export_is_verified_without_a_database(
    lived: str, huajuan: Huajuan, tmp_path: Path, name: str
) -> None:
    head, file = tmp_path / "head.json", tmp_path / name
    huajuan(lived, "head", "--sign", "--out", head)
    assert huajuan(lived, "export", "--from", 3, "--out", file).status == 0
    said = huajuan("", "verify", file, "--against", head)
    assert said.status == 0
    assert said.out.endswith("\nwhole\n")
    with open_export(str(file)) as lines:
        assert json.loads(next(lines))["from"] == 3
    assert [path.name for path in tmp_path.glob(".part*")] == []


def test_an_export_that_fails_leaves_no_file(lived: str, huajuan: Huajuan, tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text("older")
    for arguments in (("--from", 0), ("--from", 10**6), ("--from", 9, "--to", 8)):
        said = huajuan(lived, "export", *arguments, "--out", file)
        assert said.status == 1
        assert said.err.startswith("huajuan: the log has positions 1 to ")
    assert file.read_text() == "older"


def test_a_balance_is_explained(lived: str, huajuan: Huajuan) -> None:
    said = huajuan(lived, "replay", "person1")
    assert said.status == 0
    lines = said.out.splitlines()
    assert lines[-1].startswith("table agrees")
    assert lines[-2] == "100 granted = 60 available + 0 held + 40 spent + 0 deducted + 0 forfeited"
    assert sum("points_held" in line and "image " in line for line in lines) == 3


def test_a_balance_is_explained_as_json_and_csv(lived: str, huajuan: Huajuan) -> None:
    found = json.loads(huajuan(lived, "replay", "person1", "--json").out)
    assert sum(entry["change"] for entry in found["entries"]) == found["outcome"]["pots"]["available"] == 60
    rows = list(csv.DictReader(io.StringIO(huajuan(lived, "replay", "person1", "--csv").out, newline="")))
    assert [int(row["change"]) for row in rows] == [entry["change"] for entry in found["entries"]]


def test_the_past_is_explained(lived: str, huajuan: Huajuan) -> None:
    first = json.loads(huajuan(lived, "replay", "person1", "--json").out)["entries"][2]
    said = huajuan(lived, "replay", "person1", "--as-of", first["position"])
    assert said.status == 0
    assert "no table to compare with" in said.out
    assert "100 granted = 80 available + 20 held" in said.out
    said = huajuan(lived, "replay", "person1", "--as-of", first["time"])
    assert f"position {first['position'] + 1}\n" in said.err, "the request of the picture has the same time"
    assert (
        huajuan(lived, "replay", "person1", "--as-of", "9999-12-31")
        .out.splitlines()[-1]
        .startswith("table agrees")
    )


def test_a_wrong_table_is_reported(lived: str, huajuan: Huajuan) -> None:
    assert (
        huajuan(lived, "replay", "--all").out == "table agrees for every account, 3 in all (at position 42)\n"
    )
    tamper(lived, f"UPDATE {POINT_BALANCES.schema}.point_balances SET available = available + 1")
    said = huajuan(lived, "replay", "--all")
    assert said.status == 1
    assert said.out.startswith("DISAGREES: account ")
    assert json.loads(huajuan(lived, "replay", "--all", "--json").out)["agrees"] is False
    said = huajuan(lived, "replay", "person1")
    assert said.status == 1
    assert "table disagrees: available is 61 and the log makes it 60 (at position 42)" in said.out


REFUSED = {
    "unknown user": (["replay", "nobody"], "there is no account 'nobody'"),
    "as of before the registration": (
        ["replay", "person1", "--as-of", "1"],
        "'person1' was not registered yet at position 1",
    ),
    "as of nonsense": (["replay", "person1", "--as-of", "tomorrow"], "--as-of 'tomorrow' is not a position"),
    "as of the future": (["replay", "person1", "--as-of", "999999"], "the log ends at position 42"),
    "as of no number": (["replay", "person1", "--as-of", "9" * 5000], "the log ends at position 42"),
    "all as of": (["replay", "--all", "--as-of", "3"], "replay --all compares with the current tables"),
    "no head": (["verify", "--against", "pyproject.toml"], "pyproject.toml is not a head"),
    "head missing": (["verify", "--against", "missing.json"], "[Errno 2]"),
    "no export": (["verify", "pyproject.toml"], "pyproject.toml is not an export"),
    "a key for nothing": (["verify", "--public-key", "ab" * 32], "--public-key applies to heads"),
    "no key": (["verify", "--public-key", "xyz"], "--public-key must be 64"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_errors_are_printed_in_one_line(lived: str, huajuan: Huajuan, case: str) -> None:
    arguments, why = REFUSED[case]
    said = huajuan(lived, *arguments)
    assert said.status == 1
    assert said.err.splitlines()[-1].startswith(f"huajuan: {why}")
    assert "Traceback" not in said.err


def test_a_stop_signal_is_not_a_success(lived: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise ShutdownRequested

    monkeypatch.setattr("huajuan.cli.commands.verify.verify", stop)
    monkeypatch.setattr("huajuan.__main__.raise_on_stop_signals", lambda: None)
    monkeypatch.setattr("huajuan.__main__.ignore_stop_signals", lambda: None)
    monkeypatch.setattr("os.environ", environment(database_url=lived))
    monkeypatch.setattr(sys, "argv", ["huajuan", "verify"])
    assert main() == 130


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_table_says(name: str) -> None:
    assert all(callable(COMMANDS[name].function(f)) for f in (f"run_{name}", f"add_{name}_arguments"))


@pytest.mark.parametrize("arguments", [["verify"], ["head"], ["export"], ["replay", "--all"]], ids=" ".join)
def test_without_a_database_nothing_is_created(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.environ", environment(data_dir=tmp_path / "data"))
    monkeypatch.setattr(sys, "argv", ["huajuan", *arguments])
    assert run() == 1
    assert capsys.readouterr().err.startswith("huajuan: there is no database in ")
    assert not (tmp_path / "data").exists()


def test_a_stop_signal_during_the_start_is_not_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> None:
        raise ShutdownRequested

    monkeypatch.setattr("huajuan.__main__.raise_on_stop_signals", stop)
    monkeypatch.setattr("huajuan.__main__.ignore_stop_signals", lambda: None)
    for verb, status in (("serve", 0), ("verify", 130), ("replay", 130)):
        monkeypatch.setattr("sys.argv", ["huajuan", verb])
        assert main() == status
