"""libpq variables for another server do not affect the embedded one."""

import os

import psycopg
import pytest

ELSEWHERE = {
    "PGHOSTADDR": "203.0.113.7",
    "PGHOST": "203.0.113.7",
    "PGPORT": "1",
    "PGUSER": "somebody",
    "PGDATABASE": "something",
    "PGOPTIONS": "-c no_such_setting=1",
    "PGTARGETSESSIONATTRS": "standby",
}


@pytest.mark.skipif("HUAJUAN_TEST_DATABASE_URL" in os.environ, reason="the server is not an embedded one")
@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_embedded_server_is_reached(
    postgres_server: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, ELSEWHERE[name])
    with psycopg.connect(postgres_server, connect_timeout=5) as connection:
        assert connection.execute("SELECT current_user::text").fetchone() == ("postgres",)
