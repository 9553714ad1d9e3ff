"""The stock library in the rebuild benchmark: its `ProjectionRunner`, one event per transaction."""

import time
from typing import Any
from uuid import UUID

import psycopg
from eventsourcing.application import Application
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection as StockProjection
from eventsourcing.projection import ProjectionRunner
from msgspec.structs import astuple
from psycopg.conninfo import conninfo_to_dict

from huajuan.event_store.mapper import EventMapper
from huajuan.projections.registry import PROJECTIONS
from tests.event_store.samples import OneKey

SCHEMA = "stock"


class StockMapper(EventMapper):
    """Our mapper, so that mapping costs the same on both sides."""

    keys = OneKey()


class Studio(Application[UUID]):
    """Reads our log."""

    name = "huajuan"


class View(PostgresTrackingRecorder):
    """Our tables in a separate schema: row and tracking in one transaction, as the library intends."""

    position = 0

    def apply(self, event: Any, tracking: Any) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            for projection in PROJECTIONS:
                if touch := projection.handlers.get(type(event)):
                    _fold(cursor, projection, touch, event, tracking.notification_id)
            self._insert_tracking(cursor, tracking)
        View.position = tracking.notification_id


def _fold(cursor: Any, projection: Any, touch: Any, event: Any, position: int) -> None:
    table, key = projection.table, touch.key(event, position)
    name = f"{SCHEMA}.{table.name}"
    columns = ", ".join(table.columns)
    cursor.execute(f"SELECT {columns} FROM {name} WHERE {table.key} = %s", (key,), prepare=True)
    found = cursor.fetchone()
    row = touch.fold(table.row(**found) if found else None, event, position)
    if row is None:
        cursor.execute(f"DELETE FROM {name} WHERE {table.key} = %s", (key,), prepare=True)
    elif found:
        changes = ", ".join(f"{column} = %s" for column in table.columns)
        cursor.execute(
            f"UPDATE {name} SET {changes} WHERE {table.key} = %s", (*astuple(row), key), prepare=True
        )
    else:
        marks = ", ".join(["%s"] * len(table.columns))
        cursor.execute(f"INSERT INTO {name} ({columns}) VALUES ({marks})", astuple(row), prepare=True)


class Viewing(StockProjection[View]):
    """Passes each event to the view."""

    name = "viewing"

    def process_event(self, domain_event: Any, tracking: Any) -> None:
        self.view.apply(domain_event, tracking)


def stock_rate(dsn: str, seconds: float) -> float:
    """Events per second over the first part of the log."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {SCHEMA}".encode())
        connection.execute(f"SET search_path = {SCHEMA}".encode())
        for projection in PROJECTIONS:
            for statement in (projection.table.ddl, *projection.table.index_ddl):
                connection.execute(statement.encode())
    with ProjectionRunner(
        application_class=Studio, projection_class=Viewing, view_class=View, env=_environment(dsn)
    ):
        while View.position < 200:  # the warm-up is over
            time.sleep(0.01)
        began, first = time.perf_counter(), View.position
        time.sleep(seconds)
        return (View.position - first) / (time.perf_counter() - began)


def _environment(dsn: str) -> dict[str, str]:
    parts = conninfo_to_dict(dsn)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "MAPPER_TOPIC": f"{__name__}:StockMapper",
        "POSTGRES_DBNAME": str(parts["dbname"]),
        "POSTGRES_HOST": str(parts["host"]),
        "POSTGRES_PORT": str(parts["port"]),
        "POSTGRES_USER": str(parts["user"]),
        "POSTGRES_PASSWORD": str(parts.get("password", "-")),
        "POSTGRES_SCHEMA": "log",
        "VIEWING_POSTGRES_SCHEMA": SCHEMA,
    }
