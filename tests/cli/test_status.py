"""`status`: its table and its JSON, with and without a running server."""

import asyncio
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from msgspec.structs import replace
from psycopg.types.json import Jsonb

from huajuan.commands.operations import add_inference_server, remove_inference_server
from huajuan.event_store.schema import MINIMUM_PROGRAM, SCHEMA_NUMBER, create_schema
from huajuan.projections.engine.checkpoints import process_name
from huajuan.projections.likes import LIKES
from huajuan.projections.registry import PROJECTIONS
from huajuan.projections.users import USERS
from huajuan.server.server_leases import ServerIdentity, acquire_lease
from tests.cli.conftest import Type
from tests.cli.test_admin import registered
from tests.event_store.helpers import opened
from tests.projections.gallery import projecting
from tests.services import until


def test_without_a_server_it_succeeds(type_in: Type, database_url: str) -> None:
    registered(database_url, "ann")
    status, out, err = type_in("status")
    assert (status, err) == (0, "")
    assert "no server" in out
    lines = [line.split() for line in out.splitlines()]
    for projection in PROJECTIONS:
        (line,) = [line for line in lines if line[:1] == [projection.name]]
        assert line[1:4] == [f"v{projection.version}", "0", "1"]


def test_without_a_terminal_there_are_no_colors_and_no_cuts(type_in: Type, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "UPDATE operations.checkpoints SET stopped_at = 1, stopped_by = %s WHERE projection = %s",
            ("A" * 200, LIKES.schema),
        )
    out = type_in("status").out
    assert "\x1b" not in out
    assert f"stopped at 1 (None): {'A' * 200}" in out


def rebuilds_ended(dsn: str, outcome: str, differences: object = None) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO operations.rebuilds (projections, head, outcome, differences, started_at, ended_at) "
            f"VALUES (ARRAY['{LIKES.schema}', '{USERS.schema}'], 9, %s, %s, now() + interval '1 h', "
            "'2026-11-24T08:00:00Z')",
            (outcome, differences and Jsonb(differences)),
        )


def row_of(out: str, table: str) -> str:
    return next(line.rstrip() for line in out.splitlines() if line.startswith(f"{table} "))


def test_a_long_failure_is_complete_in_json(type_in: Type, database_url: str) -> None:
    failure = "failed: likes cannot fold the event at position 4711: ZeroDivisionError"
    rebuilds_ended(database_url, failure)
    row = row_of(type_in("status").out, "likes")
    assert row.endswith("…")
    assert " failed: lik" in row
    assert len(row) <= 80
    told = json.loads(type_in("status", "--json").out)["projections"]
    assert {one["name"]: one for one in told}["likes"]["last_rebuild"]["outcome"] == failure


def test_differences_of_a_rebuild_are_shown(type_in: Type, database_url: str) -> None:
    rebuilds_ended(database_url, "done", [{"table": "likes", "rows": 3, "first": {}}])
    out = type_in("status").out
    assert row_of(out, "likes").endswith(" done, 3 rows differed")
    assert row_of(out, "users").endswith(" done, 11-24"), "only the other table differed"


def test_json_has_all_fields(type_in: Type, database_url: str) -> None:
    told = json.loads(type_in("status", "--json").out)
    assert (told["database_url"], told["serving"], told["log_position"]) == (database_url, [], 0)
    assert [one["name"] for one in told["projections"]] == [p.name for p in PROJECTIONS]


LONG_NAME = "3f2a9c5b7d1e.a.very.long.name.of.a.machine.example.org:2081765"


@pytest.mark.parametrize("serves", [False, True])
@pytest.mark.parametrize("rebuilding", [False, True])
def test_the_table_fits_eighty_columns_on_a_pipe(
    type_in: Type, database_url: str, monkeypatch: pytest.MonkeyPatch, rebuilding: bool, serves: bool
) -> None:
    """With long names, high positions and stopped projections."""

    async def serving(_: object) -> list[str]:
        return [LONG_NAME] * serves

    monkeypatch.setattr("huajuan.cli.commands.status.serving_processes", serving)
    rebuilds_ended(database_url, "failed: likes cannot fold the event at position 4711", None)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "UPDATE operations.checkpoints SET position = 99999, rate = 321, moved_at = now(), leader = %s",
            (LONG_NAME,),
        )
        connection.execute(
            "UPDATE operations.checkpoints SET stopped_at = 12345679, stopped_by = 'ZeroDivisionError' "
            f"WHERE projection = '{USERS.schema}'"
        )
        if rebuilding:
            connection.execute(f"SELECT pg_advisory_lock(hashtext('huajuan rebuild {LIKES.schema}'))")
        out = type_in("status").out
    table = [row_of(out, name) for name in ("table", *(projection.name for projection in PROJECTIONS))]
    assert max(map(len, table)) <= 80, table
    assert all((":2081765" if serves else " gone ") in row for row in table[1:])
    assert (f"gone: {LONG_NAME}, which ran users, " in out) != serves
    assert "users v1 stopped at 12345679 (None): ZeroDivisionError" in out
    assert ("rebuilt" in row_of(out, "likes")) == rebuilding


async def test_the_running_server_is_listed(type_in: Type, database_url: str) -> None:
    async with projecting(database_url):

        async def is_named() -> bool:
            told = json.loads((await asyncio.to_thread(type_in, "status", "--json")).out)
            return bool(told["serving"] == [process_name()])

        await until(is_named)


def lives(dsn: str, own: ServerIdentity) -> None:
    acquire_lease(dsn, own)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("UPDATE operations.servers SET expires_at = now() + interval '1 h'")


def test_differing_settings_are_listed_with_the_servers(type_in: Type, database_url: str) -> None:
    own = ServerIdentity(uuid4(), "gpu-1:7", b"secret", {"HUAJUAN_TIME_ZONE": "a", "HUAJUAN_PUBLIC_URL": "b"})
    lives(database_url, own)
    assert "disagree" not in type_in("status").out
    lives(
        database_url,
        replace(own, id=uuid4(), name="gpu-2:9", settings=own.settings | {"HUAJUAN_TIME_ZONE": "c"}),
    )
    lines = type_in("status").out.splitlines()
    assert "servers disagree on HUAJUAN_TIME_ZONE: gpu-1:7, gpu-2:9" in lines
    assert f"schema        number {SCHEMA_NUMBER}, for programs from number {MINIMUM_PROGRAM} on" in lines
    told = json.loads(type_in("status", "--json").out)
    assert told["disagreements"] == ["HUAJUAN_TIME_ZONE"]
    assert [(one["name"], one["program"]) for one in told["servers"]] == [
        ("gpu-1:7", SCHEMA_NUMBER),
        ("gpu-2:9", SCHEMA_NUMBER),
    ]
    assert (told["schema_number"], told["minimum_program"]) == (SCHEMA_NUMBER, MINIMUM_PROGRAM)


def test_a_newer_schema_is_shown(type_in: Type, database_url: str) -> None:
    create_schema(database_url, SCHEMA_NUMBER + 1, MINIMUM_PROGRAM)
    line = (
        f"schema        number {SCHEMA_NUMBER + 1}, for programs from number {MINIMUM_PROGRAM} on "
        f"(this program creates {SCHEMA_NUMBER})"
    )
    assert line in type_in("status").out.splitlines()


def test_a_database_without_tables_is_an_error(
    type_in: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUAJUAN_DATABASE_URL", "")
    monkeypatch.setenv("HUAJUAN_DATA_DIR", str(tmp_path / "data"))
    for arguments in (["status"], ["admin", "grant", "ann"]):
        line = f"huajuan: there is no database in {tmp_path / 'data'}; `huajuan serve` creates one\n"
        assert type_in(*arguments) == (1, "", line)
    assert not (tmp_path / "data").exists()


def test_inference_servers_are_listed_without_passwords(
    type_in: Type, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "drawn by      the demo ComfyUI" in type_in("status").out
    named = ["http://op:secret@gpu-1:8188", "http://gpu-2:8188/?token=secret"]

    async def change() -> None:
        async with opened(database_url) as store:
            await add_inference_server(store, "http://gpu-3:8188", named, "more to draw")
            await remove_inference_server(store, "http://gpu-2:8188", named, "broken")

    asyncio.run(change())
    monkeypatch.setitem(os.environ, "HUAJUAN_COMFYUI_URLS", ",".join(named))
    out, as_json = type_in("status").out, type_in("status", "--json").out
    today = datetime.now(UTC).date().isoformat()
    lines = [line.strip() for line in out.splitlines()]
    assert "drawn by      http://gpu-1:8188 (named by HUAJUAN_COMFYUI_URLS)" in lines
    assert f"http://gpu-3:8188 (added by an admin on {today})" in lines
    assert (
        f"http://gpu-2:8188 does not draw: removed by an admin on {today}, "
        "although HUAJUAN_COMFYUI_URLS names it"
    ) in lines
    servers = json.loads(as_json)["inference_servers"]
    assert [(one["url"], one["draws"], one["source"], one["reason"]) for one in servers] == [
        ("http://gpu-1:8188", True, "setting", None),
        ("http://gpu-2:8188", False, "setting", "broken"),
        ("http://gpu-3:8188", True, "admin", "more to draw"),
    ]
    assert "secret" not in out + as_json
