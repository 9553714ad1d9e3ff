"""A database that the program of schema number 1 made and used."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.database import Databases

DUMP = Path(__file__).parent / "fixtures" / "schema_1.sql"


@pytest.fixture
def old_database(databases: Databases) -> Iterator[str]:
    """Five accounts (小明 drew three pictures, eve is banned, cai is erased), a failed picture, likes.

    It also has a favorite, adjusted points, and requests that were sent with an idempotency key.
    """
    name = databases.create()
    with psycopg.connect(databases.dsn(name), autocommit=True) as connection:
        connection.execute(DUMP.read_text("utf-8").encode())
    yield databases.dsn(name)
    databases.retire(name)
