"""Rules for every read table, without which it could not be rebuilt and swapped."""

import re
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

import huajuan.projections
from huajuan.projections.engine.projection import Projection
from huajuan.projections.rebuild.schemas import create_read_tables
from huajuan.projections.registry import PROJECTIONS

SOURCES = sorted(Path(huajuan.projections.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda p: p.name)
def test_a_table_has_no_enum_foreign_key_view_or_serial(projection: Projection) -> None:
    ddl = " ".join([projection.table.ddl, *projection.table.index_ddl]).upper()
    assert not re.search(r"ENUM|REFERENCES|FOREIGN|VIEW|SERIAL|IDENTITY|SEQUENCE|DEFAULT", ddl)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_no_query_selects_all_columns(source: Path) -> None:
    assert not re.search(r"SELECT \*(?! FROM unnest)|\w\.\*", source.read_text())


def test_each_projection_has_a_schema_of_its_own_named_with_its_version() -> None:
    schemas = [p.schema for p in PROJECTIONS]
    assert len(set(schemas)) == len(schemas)
    assert all(re.fullmatch(r"[a-z_]+_v[0-9]+", schema) for schema in schemas)


def test_creating_the_tables_twice_changes_nothing(bare_database_url: str) -> None:
    create_read_tables(bare_database_url, PROJECTIONS)
    create_read_tables(bare_database_url, PROJECTIONS)
    with psycopg.connect(bare_database_url) as connection:
        for projection in PROJECTIONS:
            table = sql.Identifier(projection.schema, projection.table.name)
            rows = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
            assert rows == (0,)
        checkpoints = connection.execute("SELECT projection FROM operations.checkpoints").fetchall()
        assert {name for (name,) in checkpoints} == {p.schema for p in PROJECTIONS}
