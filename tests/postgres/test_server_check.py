"""A database that does not meet a requirement is refused at start, with the remedy in one line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from huajuan.postgres.server_check import UnsupportedDatabase, check_readable
from huajuan.projections.users import USERS
from huajuan.server.database import DatabaseUnusable, open_database, reach_database
from huajuan.settings import Settings
from tests.database import Databases
from tests.event_store.pooler import Kind, pooler
from tests.postgres.test_connect import alter

ROLE = "huajuan_test_guest"


def opened(dsn: str) -> None:
    with open_database(Settings(database_url=dsn), lambda _: None):
        """Opens and closes it."""


def refusal(dsn: str, opener: Callable[[str], None] = opened) -> str:
    with pytest.raises(DatabaseUnusable) as refused:
        opener(dsn)
    (line,) = str(refused.value).splitlines()
    assert line.startswith("HUAJUAN_DATABASE_URL: ")
    return line.removeprefix("HUAJUAN_DATABASE_URL: ")


def read(dsn: str) -> None:
    with reach_database(Settings(database_url=dsn), lambda _: None):
        """Opens and closes it."""


def schemas(dsn: str) -> set[str]:
    with psycopg.connect(dsn) as connection:
        return {name for (name,) in connection.execute("SELECT nspname::text FROM pg_namespace").fetchall()}


@contextmanager
def encoded(databases: Databases, encoding: str) -> Iterator[str]:
    databases.drop(name := databases.create())
    with psycopg.connect(databases.server_dsn, autocommit=True) as connection:
        made = (
            "CREATE DATABASE {} ENCODING {} TEMPLATE template0 LOCALE_PROVIDER libc"
            " LC_COLLATE 'C' LC_CTYPE 'C'"
        )
        connection.execute(sql.SQL(made).format(sql.Identifier(name), encoding))
    yield databases.dsn(name)
    databases.drop(name)


@pytest.mark.parametrize("opener", [opened, read])
@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_CN"])
def test_another_encoding(databases: Databases, encoding: str, opener: Callable[[str], None]) -> None:
    with encoded(databases, encoding) as dsn:
        line = refusal(dsn, opener)
        assert f"has the encoding {encoding}, and UTF8 is needed" in line
        assert "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0" in line
        assert "log" not in schemas(dsn), "nothing was made"


@pytest.mark.parametrize("opener", [opened, read])
@pytest.mark.parametrize("kind", ["own pid", "turns"])
def test_a_pooler(database_url: str, kind: Kind, opener: Callable[[str], None]) -> None:
    with pooler(database_url, kind) as dsn:
        assert refusal(dsn, opener).startswith("a connection pooler (such as pgbouncer) is in between")


@pytest.mark.parametrize("version", [90_624, 130_012])
def test_an_old_server(version: int) -> None:
    connection = SimpleNamespace(info=SimpleNamespace(server_version=version))
    with pytest.raises(
        UnsupportedDatabase, match=f"PostgreSQL 14 or newer is needed, this is {version // 10_000}"
    ):
        check_readable(cast("psycopg.Connection[Any]", connection))


def test_a_read_only_database(database_url: str) -> None:
    alter(database_url, {"default_transaction_read_only": "on"})
    line = refusal(database_url)
    assert line.startswith("transactions are read-only here: ALTER DATABASE ")
    read(database_url)


def test_a_session_without_triggers(database_url: str) -> None:
    alter(database_url, {"session_replication_role": "replica"})
    assert "session_replication_role is replica" in refusal(database_url)


def test_a_database_without_plpgsql(databases: Databases) -> None:
    dsn = databases.dsn(databases.create())
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP EXTENSION plpgsql")
    assert "plpgsql is missing: CREATE EXTENSION plpgsql" in refusal(dsn)
    databases.retire(str(conninfo_to_dict(dsn)["dbname"]))


@pytest.fixture
def guest(databases: Databases) -> Iterator[Callable[[str], str]]:
    """The DSN of a role without privileges."""
    with psycopg.connect(databases.server_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {ROLE} LOGIN".encode())
        yield lambda dsn: make_conninfo(dsn, user=ROLE)
        connection.execute(f"DROP ROLE {ROLE}".encode())


def test_a_role_that_may_not_create_schemas(databases: Databases, guest: Callable[[str], str]) -> None:
    name = databases.create()
    line = refusal(guest(databases.dsn(name)))
    assert line == (
        f'the role "{ROLE}" may not create schemas: GRANT CREATE ON DATABASE "{name}" TO "{ROLE}"'
    )
    databases.drop(name)


def test_a_role_that_owns_everything(databases: Databases, guest: Callable[[str], str]) -> None:
    name = databases.create()
    with psycopg.connect(databases.dsn(name), autocommit=True) as connection:
        connection.execute(f"GRANT CREATE ON DATABASE {name} TO {ROLE}".encode())
    opened(guest(databases.dsn(name)))
    opened(guest(databases.dsn(name)))
    databases.drop(name)


@pytest.mark.parametrize(
    ("foreign", "named"),
    [
        ("", "log"),
        (f"ALTER SCHEMA log OWNER TO {ROLE}; ALTER SCHEMA operations OWNER TO {ROLE}", USERS.schema),
    ],
)
def test_a_schema_of_another_role(
    databases: Databases, template_database: str, guest: Callable[[str], str], foreign: str, named: str
) -> None:
    name = databases.create(template_database)
    with psycopg.connect(databases.dsn(name), autocommit=True) as connection:
        connection.execute(f"GRANT CREATE ON DATABASE {name} TO {ROLE}; {foreign}".encode())
    line = refusal(guest(databases.dsn(name)))
    assert line.startswith(named)
    assert 'belongs to the role "postgres": connect as that role, or GRANT "postgres" TO' in line
    databases.drop(name)


PASSWORD = "correct-horse"
UNREACHABLE = {
    "nobody listens": f"host=127.0.0.1 port=1 user=a password={PASSWORD}",
    "of several nobody": f"host=127.0.0.1,localhost port=1,2 user=a password={PASSWORD}",
    "no such host": f"postgresql://a:{PASSWORD}@no.such.host.invalid/huajuan",
    "no host's name": f"postgresql://a:{PASSWORD}@a..b/huajuan",
    "port": f"host=127.0.0.1 port=port user=a password={PASSWORD}",
    "unknown word": f"host=127.0.0.1 pass={PASSWORD}",
    "no DSN": f"postgresql://a:{PASSWORD}@[::",
    "quotes": f"host='127.0.0.1 password={PASSWORD}",
    "bad choice": f"host=127.0.0.1 sslmode=maybe password={PASSWORD}",
    "nothing to read": f"service=none_such password={PASSWORD}",
}


@pytest.mark.parametrize("dsn", UNREACHABLE.values(), ids=UNREACHABLE)
def test_an_unreachable_server_is_reported_without_the_password(dsn: str) -> None:
    line = refusal(dsn)
    assert len(line) > 10
    assert PASSWORD not in line


@pytest.mark.parametrize("part", [{"dbname": "no_such_database"}, {"user": "no_such_role"}])
def test_an_error_of_the_server_is_reported(database_url: str, part: dict[str, str]) -> None:
    line = refusal(make_conninfo(database_url, password=PASSWORD, **part))
    assert next(iter(part.values())) in line
    assert "does not exist" in line
    assert PASSWORD not in line
