"""The unmodified library reads our log, and its own inserts are refused."""

from typing import Any
from uuid import UUID

import psycopg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eventsourcing.application import Application
from eventsourcing.persistence import IntegrityError
from psycopg.conninfo import conninfo_to_dict

from huajuan.domain.account import Account
from huajuan.domain.aggregate import EventMetadata, with_event_metadata
from huajuan.event_store.mapper import EventMapper
from tests.event_store.helpers import check_in, hold, opened, register
from tests.story import NOON


class AllKeys(dict[UUID, AESGCM]):
    """All keys, for a reader without an event loop."""

    def __init__(self, dsn: str) -> None:
        with psycopg.connect(dsn) as connection:
            rows = connection.execute("SELECT subject_id, key FROM operations.personal_keys").fetchall()
        super().__init__({subject: AESGCM(key) for subject, key in rows})


class StockMapper(EventMapper):
    keys: Any = None


class Stock(Application[UUID]):
    name = "huajuan"
    is_snapshotting_enabled = True


def stock(dsn: str) -> Stock:
    StockMapper.keys = AllKeys(dsn)
    parts = conninfo_to_dict(dsn)
    env = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "MAPPER_TOPIC": f"{__name__}:StockMapper",
        "POSTGRES_DBNAME": str(parts["dbname"]),
        "POSTGRES_HOST": str(parts["host"]),
        "POSTGRES_PORT": str(parts.get("port", 5432)),
        "POSTGRES_USER": str(parts["user"]),
        "POSTGRES_PASSWORD": str(parts.get("password", "-")),
        "POSTGRES_SCHEMA": "log",
        "CREATE_TABLE": "n",
    }
    return Stock(env)


@pytest.fixture
async def accounts(database_url: str) -> list[Any]:
    """Ann has a long history with snapshots, Ben a short one."""
    async with opened(database_url, snapshot_every_events=10) as store:
        ann, ben = await register(store, "ann"), await register(store, "ben")
        for day in range(25):
            await check_in(store, ann, day)
        await hold(store, ann)
        await store._snapshots.write_waiting()
        return [await store.find(Account, i) for i in (ann, ben)]


def test_it_loads_the_same_aggregates(database_url: str, accounts: list[Account]) -> None:
    app = stock(database_url)
    assert [app.repository.get(a.id) for a in accounts] == accounts
    app.close()


def test_it_reads_our_snapshots(database_url: str, accounts: list[Account]) -> None:
    app = stock(database_url)
    assert app.snapshots
    snapshot: Any = next(iter(app.snapshots.get(accounts[0].id, desc=True, limit=1)))
    assert snapshot.originator_version == 20
    assert snapshot.mutate(None) == app.repository.get(accounts[0].id, version=20)
    app.close()


def test_it_reads_the_log_in_our_order(database_url: str, accounts: list[Account]) -> None:
    app = stock(database_url)
    notifications = app.recorder.select_notifications(1, 100)
    assert [n.id for n in notifications] == list(range(1, 29))
    assert notifications[2].topic == "account.checked_in"
    app.close()


def test_its_save_is_refused(database_url: str, accounts: list[Account]) -> None:
    app = stock(database_url)
    account: Account = app.repository.get(accounts[1].id)
    with with_event_metadata(EventMetadata(NOON)):
        account.change_avatar("x")
    with pytest.raises(IntegrityError, match="notification_id"):
        app.save(account)
    app.close()
