"""The upgrade of schema number 1: objects are renamed, and older programs must be stopped before."""

import re
from uuid import uuid4

import psycopg
import pytest

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

# Known values, and no other rows in the tables that the tests write to.
PREPARE = """
UPDATE operations.installation
   SET stream_key = convert_to(repeat('k', 32), 'UTF8'), schema = 'old',
       schema_number = 1, minimum_program = 1;
TRUNCATE operations.job_leases, operations.idempotency, operations.erasures, operations.uploaded_avatars,
         operations.rebuilds, operations.servers;
"""
OLD_NAMES = (
    "lapses_at",
    "tenancy",
    "fold_beside",
    "shared_until",
    "unsuited",
    "follows_on",
    "asked_at",
    "made_at",
    "kept_at",
)
# The definitions of all objects, for the comparison of an upgraded database with a new one.
OBJECTS = """
SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
    SELECT format('%s.%s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull)
               AS line
      FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
     WHERE c.relnamespace = ANY (ARRAY['log'::regnamespace, 'operations'::regnamespace])
           AND c.relkind IN ('r', 'v', 'S') AND a.attnum > 0 AND NOT a.attisdropped
     UNION ALL
    SELECT indexdef FROM pg_indexes WHERE schemaname IN ('log', 'operations')
     UNION ALL
    SELECT pg_get_functiondef(p.oid) FROM pg_proc p
     WHERE p.pronamespace = ANY (ARRAY['log'::regnamespace, 'operations'::regnamespace])
     UNION ALL
    SELECT definition FROM pg_views WHERE schemaname = 'operations') AS objects
"""
INSERT_ROWS = """
INSERT INTO operations.job_leases (image_id, host, holder, lapses_at)
VALUES (gen_random_uuid(), 'http://gpu-1', gen_random_uuid(), now());
INSERT INTO operations.idempotency (id, digest, command, since, run, lapses_at)
VALUES ('\\x01', '\\x02', gen_random_uuid(), 7, gen_random_uuid(), now());
INSERT INTO operations.erasures (account_id) VALUES (gen_random_uuid());
INSERT INTO operations.uploaded_avatars (avatar_id, account_id) VALUES (gen_random_uuid(), gen_random_uuid());
INSERT INTO operations.rebuilds (projections, asked) VALUES ('{likes_v1}', 11);
UPDATE operations.tenancy SET epoch = 5, tag = 'a server';
"""
SERVER = """
INSERT INTO operations.servers (id, name, program, lapses_at, secret, settings)
VALUES (gen_random_uuid(), 'gpu-1:7', 1, now() + make_interval(secs => %s), '', '{}')
"""


def execute(dsn: str, statement: str, *values: object) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(autouse=True)
def prepared(old_database: str) -> None:
    execute(old_database, PREPARE)


def test_an_upgraded_database_equals_a_new_one(old_database: str, bare_database_url: str) -> None:
    assert any(re.search(rf"\b{name}\b", str(execute(old_database, OBJECTS))) for name in OLD_NAMES)
    create_schema(old_database)
    with psycopg.connect(old_database) as connection:
        assert installed_schema(connection) == InstalledSchema(SCHEMA_NUMBER, MINIMUM_PROGRAM, own_digest())
    ((upgraded,),), ((new,),) = execute(old_database, OBJECTS), execute(bare_database_url, OBJECTS)
    assert str(upgraded).splitlines() == str(new).splitlines()
    assert not [name for name in OLD_NAMES if re.search(rf"\b{name}\b", str(upgraded))]


def test_the_rows_stay_and_a_second_upgrade_changes_nothing(old_database: str) -> None:
    execute(old_database, INSERT_ROWS)
    create_schema(old_database)
    execute(old_database, "UPDATE operations.installation SET schema_digest = 'a draft'")
    create_schema(old_database)
    found = execute(
        old_database,
        "SELECT l.epoch, l.holder, j.server, j.expires_at IS NULL, i.since, i.command_id IS NULL,"
        "       i.run_id IS NULL, e.requested_at IS NULL, a.check_at IS NULL, r.requested_at_position,"
        "       encode(o.stream_key, 'escape')"
        "  FROM operations.cache_lease l, operations.job_leases j, operations.idempotency i,"
        "       operations.erasures e, operations.uploaded_avatars a, operations.rebuilds r,"
        "       operations.installation o",
    )
    assert found == [(5, "a server", "http://gpu-1", False, 7, False, False, False, False, 11, "k" * 32)]


def test_an_older_program_cannot_use_the_new_schema(old_database: str) -> None:
    create_schema(old_database)
    with pytest.raises(SchemaUnusable, match="needs a program of number"):
        create_schema(old_database, number=1, minimum_program=1)
    with pytest.raises(psycopg.errors.UndefinedColumn):
        execute(old_database, "SELECT schema FROM operations.installation")


def test_a_connected_older_server_stops_the_upgrade(old_database: str) -> None:
    with psycopg.connect(old_database, autocommit=True) as server:
        server.execute("SET application_name = 'huajuan serves a1b2 gpu-1:7'")
        with pytest.raises(SchemaUnusable, match="the server gpu-1:7 of an older version") as refused:
            create_schema(old_database)
    assert len(str(refused.value).splitlines()) == 1
    assert execute(old_database, "SELECT schema, schema_number FROM operations.installation") == [("old", 1)]
    create_schema(old_database)


def test_a_lease_that_is_renewed_stops_the_upgrade(
    old_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_OLDER_LEASE_SECONDS_MAX", 0.3)
    execute(old_database, SERVER, 3600)
    with pytest.raises(SchemaUnusable, match="the server gpu-1:7 of an older version"):
        create_schema(old_database)
    assert execute(old_database, "SELECT schema FROM operations.installation") == [("old",)]


def test_the_lease_of_a_killed_server_is_waited_for(old_database: str) -> None:
    execute(old_database, SERVER, 0.5)
    create_schema(old_database)
    assert execute(old_database, "SELECT name FROM operations.servers") == [("gpu-1:7",)]


def test_servers_of_this_program_do_not_stop_each_other(bare_database_url: str) -> None:
    with psycopg.connect(bare_database_url, autocommit=True) as server:
        server.execute(f"SET application_name = 'huajuan serves {uuid4()} gpu-1:7'".encode())
        server.execute("UPDATE operations.installation SET schema_digest = 'a draft'")
        create_schema(bare_database_url)
