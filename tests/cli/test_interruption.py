"""Ctrl-C during a command: it prints that it stops, exits with 130, and prints no result and no error."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from huajuan.projections.history import HISTORY
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.rebuild.session import RebuildLimits
from huajuan.projections.registry import PROJECTIONS
from tests.database import eventually
from tests.projections.gallery import SECONDS_MAX, append_history, projecting
from tests.server.service import CHECKOUT, environment

# So slow that it can be interrupted.
SLOW = {"rebuild": RebuildLimits(page_events_max=1, last_step_events_max=0)}
WAITING = (
    "SELECT count(*) FROM pg_locks WHERE NOT granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
FOLDED = "SELECT coalesce(max(position), 0) FROM operations.rebuilds"
AUDITS = {
    "verify": "log.huajuan_events",
    "export": "log.huajuan_events",
    "replay person1": "log.huajuan_events",
    "replay --all": f"{POINT_BALANCES.schema}.point_balances",
}


@pytest.fixture
async def lived(database_url: str) -> str:
    async with projecting(database_url) as (store, projector):
        position = await append_history(store, 8)
        await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
    return database_url


def begin(dsn: str, *arguments: str, **settings: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "huajuan", *arguments],
        env=environment(database_url=dsn, **settings),
        cwd=CHECKOUT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@contextmanager
def watching(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def number(connection: psycopg.Connection, query: str) -> int:
    return int((connection.execute(query.encode()).fetchone() or (0,))[0])


@pytest.mark.parametrize("verb", AUDITS)
def test_an_audit_stopped_in_a_query_prints_only_that(lived: str, verb: str) -> None:
    with watching(lived) as watch, psycopg.connect(lived) as holder:
        holder.execute(f"LOCK TABLE {AUDITS[verb]} IN ACCESS EXCLUSIVE MODE".encode())
        audit = begin(lived, *verb.split())
        eventually(lambda: number(watch, WAITING))
        audit.send_signal(signal.SIGINT)
        out, err = audit.communicate(timeout=SECONDS_MAX)
    assert (audit.returncode, out) == (130, "")
    assert err.endswith("\nstopping\n")
    assert "huajuan:" not in err


def test_building_tables_is_stopped_without_further_output(lived: str) -> None:
    with watching(lived) as watch:
        watch.execute(f"DROP SCHEMA {HISTORY.schema} CASCADE")
        watch.execute(f"DELETE FROM operations.checkpoints WHERE projection = '{HISTORY.schema}'")
        grant = begin(lived, "admin", "grant", "person1", "--reason", "trusted", **SLOW)
        eventually(lambda: number(watch, FOLDED) >= 10)
        grant.send_signal(signal.SIGINT)
        out, err = grant.communicate(timeout=SECONDS_MAX)
    assert (grant.returncode, out) == (130, "")
    assert err.startswith(f"building {HISTORY.schema} from the log\n")
    assert "\nstopping\n" in err
    assert "Traceback" not in err
    assert "huajuan:" not in err
