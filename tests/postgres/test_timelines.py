"""Timelines: an old primary is refused, a restored dump is not."""

from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from huajuan.postgres.retry import StalePrimary
from huajuan.postgres.timelines import Primary, Timelines
from huajuan.server.database import DatabaseUnusable, open_database
from huajuan.settings import Settings

FIRST, SECOND = ("7434", "00000001"), ("7434", "0000000A")
OTHER = ("9999", "00000001")


def test_a_lower_timeline_is_refused_until_a_higher_one_answers(tmp_path: Path) -> None:
    timelines = Timelines(tmp_path / "timelines")
    for row in (FIRST, SECOND):
        timelines._check(row)
    assert (timelines.generation, list(timelines.problems())) == (1, [])
    with pytest.raises(StalePrimary, match=r"timeline 1, and timeline 10 .* remove 7434-\*"):
        timelines._check(FIRST)
    (problem,) = timelines.problems()
    assert (problem.name, problem.blocking) == ("stale_primary", True)
    timelines._check(SECOND)
    assert (timelines.generation, list(timelines.problems())) == (1, [])


def test_the_data_folder_keeps_the_timelines(tmp_path: Path) -> None:
    here, there = Timelines(tmp_path), Timelines(tmp_path)
    here._check(FIRST)
    there._check(SECOND)
    for timelines in (here, Timelines(tmp_path)):
        with pytest.raises(StalePrimary):
            timelines._check(FIRST)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["7434-1", "7434-10"]


def test_another_system_is_another_database(tmp_path: Path) -> None:
    timelines = Timelines(tmp_path)
    changes: list[int] = []
    timelines.on_change.append(lambda: changes.append(timelines.generation))
    for row in (SECOND, OTHER, OTHER, SECOND):
        timelines._check(row)
    assert changes == [1, 2]


def test_a_standby_and_an_unreadable_timeline_are_accepted(tmp_path: Path) -> None:
    timelines = Timelines(tmp_path)
    timelines._check(SECOND)
    timelines._check(("7434", None))
    assert (timelines.generation, list(timelines.problems())) == (0, [])


def test_an_unwritable_folder_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "timelines").write_text("")
    timelines = Timelines(tmp_path / "timelines")
    timelines._check(SECOND)
    with pytest.raises(StalePrimary):
        timelines._check(FIRST)


async def test_a_role_without_privileges_reads_the_timeline(database_url: str) -> None:
    timelines, role = Timelines(), f"nobody_{database_url.rsplit('_', 1)[-1]}"
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
        await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        await timelines.check(connection)
        assert isinstance(timelines._current, Primary)
        await connection.execute("RESET ROLE")
        await connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


async def test_a_missing_privilege_is_a_warning(database_url: str) -> None:
    timelines = Timelines()
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute(
            "CREATE FUNCTION public.pg_control_system() RETURNS int LANGUAGE sql AS 'SELECT 1'"
        )
        await connection.execute("SET search_path = public, pg_catalog")
        await timelines.check(connection)
    assert timelines._is_unreadable
    assert list(timelines.problems()) == []


def test_an_old_primary_is_refused_at_the_start_in_one_line(database_url: str, tmp_path: Path) -> None:
    settings = Settings(database_url=database_url, data_dir=str(tmp_path))
    with open_database(settings, lambda _: None):
        pass
    ((system, _),) = [path.name.split("-") for path in (tmp_path / "timelines").iterdir()]
    (tmp_path / "timelines" / f"{system}-7").touch()
    message = r"HUAJUAN_DATABASE_URL: .* old primary: it writes timeline 1"
    with pytest.raises(DatabaseUnusable, match=message) as refusal, open_database(settings, lambda _: None):
        pass
    assert "\n" not in str(refusal.value)
