"""The schema number: it only grows, and a program does not change a newer schema."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from huajuan.event_store import schema
from huajuan.event_store.schema import (
    MINIMUM_PROGRAM,
    SCHEMA_NUMBER,
    InstalledSchema,
    SchemaUnusable,
    create_schema,
    installed_schema,
    own_digest,
)
from huajuan.projections.likes import LIKES
from huajuan.server.database import DatabaseUnusable, create_tables, open_database
from huajuan.settings import Settings
from tests.database import Databases

NOTED = Path(__file__).with_name("schema_numbers.json")
NEWER_FUNCTION = """
CREATE OR REPLACE FUNCTION log.refuse_change() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'newer'; END $$
"""
FUNCTIONS = "SELECT string_agg(prosrc, '' ORDER BY oid) FROM pg_proc WHERE pronamespace = 'log'::regnamespace"
WRITTEN_BY = """
SELECT concat((SELECT xmin FROM operations.installation),
              (SELECT string_agg(xmin::text, ' ' ORDER BY oid)
                 FROM pg_proc WHERE pronamespace = 'log'::regnamespace))
"""


def made(dsn: str) -> InstalledSchema | None:
    with psycopg.connect(dsn) as connection:
        return installed_schema(connection)


def run(dsn: str, statement: str) -> str:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return str((cursor.fetchone() or ("",))[0]) if cursor.description else ""


def before_numbers(dsn: str) -> None:
    """Makes the schema one of a program from before schema numbers."""
    run(dsn, "DROP TABLE operations.servers")
    for column in ("schema_number", "minimum_program", "picture_store"):
        run(dsn, f"ALTER TABLE operations.installation DROP COLUMN {column}")
    run(dsn, "UPDATE operations.installation SET schema_digest = 'older'")


def test_a_new_schema_has_the_number_of_this_program(bare_database_url: str) -> None:
    assert made(bare_database_url) == InstalledSchema(SCHEMA_NUMBER, MINIMUM_PROGRAM, own_digest())


def test_a_schema_from_before_numbers_is_upgraded(bare_database_url: str) -> None:
    before_numbers(bare_database_url)
    assert made(bare_database_url) == InstalledSchema(0, 0, "older")
    key = run(bare_database_url, "SELECT encode(stream_key, 'hex') FROM operations.installation")
    create_schema(bare_database_url)
    assert made(bare_database_url) == InstalledSchema(SCHEMA_NUMBER, MINIMUM_PROGRAM, own_digest())
    assert run(bare_database_url, "SELECT encode(stream_key, 'hex') FROM operations.installation") == key


def test_a_newer_schema_that_allows_this_program_is_not_changed(bare_database_url: str) -> None:
    create_schema(bare_database_url, number=9, minimum_program=8)
    run(bare_database_url, NEWER_FUNCTION)
    run(bare_database_url, "UPDATE operations.installation SET schema_digest = 'newer'")
    before = run(bare_database_url, FUNCTIONS)
    create_schema(bare_database_url, number=8, minimum_program=1)
    assert run(bare_database_url, FUNCTIONS) == before
    assert made(bare_database_url) == InstalledSchema(9, 8, "newer")


def test_a_newer_schema_that_does_not_allow_it_is_refused(bare_database_url: str) -> None:
    create_schema(bare_database_url, number=9, minimum_program=8)
    run(bare_database_url, NEWER_FUNCTION)
    before = run(bare_database_url, FUNCTIONS)
    with pytest.raises(
        SchemaUnusable, match="has the number 9 and needs a program of number 8 or higher, this one is 7"
    ):
        create_schema(bare_database_url, number=7, minimum_program=1)
    assert run(bare_database_url, FUNCTIONS) == before


def test_the_start_reports_it_in_one_line_and_creates_nothing(database_url: str) -> None:
    create_schema(database_url, number=SCHEMA_NUMBER + 2, minimum_program=SCHEMA_NUMBER + 1)
    run(database_url, f"DROP SCHEMA {LIKES.schema} CASCADE")
    with (
        pytest.raises(DatabaseUnusable, match="start the newer program") as refused,
        open_database(Settings(database_url=database_url), lambda _: None),
    ):
        pytest.fail("it was opened")
    assert len(str(refused.value).splitlines()) == 1
    assert run(database_url, f"SELECT to_regnamespace('{LIKES.schema}') IS NULL") == "True"


def test_an_older_schema_is_upgraded_and_its_number_never_decreases(bare_database_url: str) -> None:
    for number, minimum, now in (
        (3, 1, (3, 1)),
        (2, 1, (3, 1)),
        (4, 2, (4, 2)),
        (4, 2, (4, 2)),
        (3, 1, (4, 2)),
    ):
        create_schema(bare_database_url, number, minimum)
        found = made(bare_database_url)
        assert found
        assert (found.number, found.minimum_program) == now


def test_other_statements_of_the_same_number_are_executed(bare_database_url: str) -> None:
    """As during the development of a release."""
    run(bare_database_url, NEWER_FUNCTION)
    run(bare_database_url, "UPDATE operations.installation SET schema_digest = 'another draft'")
    create_schema(bare_database_url)
    assert "newer" not in run(bare_database_url, FUNCTIONS)


def test_of_concurrent_starts_the_highest_number_stays(databases: Databases) -> None:
    dsn = databases.dsn(databases.create())
    with ThreadPoolExecutor(8) as crowd:
        list(crowd.map(lambda number: create_schema(dsn, number, 1), [5, 3, 7, 7, 4, 6, 7, 2]))
    assert made(dsn) == InstalledSchema(7, 1, own_digest())
    databases.retire(str(conninfo_to_dict(dsn)["dbname"]))


def test_a_current_schema_is_not_written(database_url: str) -> None:
    create_tables(database_url)
    before = run(database_url, WRITTEN_BY)
    create_schema(database_url)
    assert run(database_url, WRITTEN_BY) == before


def test_a_change_of_the_statements_needs_a_new_number() -> None:
    """Add the digest of changed statements to the file under the next number."""
    noted = json.loads(NOTED.read_text())
    assert noted[str(SCHEMA_NUMBER)] == own_digest()
    assert max(map(int, noted)) == SCHEMA_NUMBER
    assert schema.MINIMUM_PROGRAM <= SCHEMA_NUMBER
