"""What the read table of balances shows, and up to which position, to be held against the log."""

import psycopg

from huajuan.audit.connection import one
from huajuan.audit.ledger import POTS
from huajuan.projections.point_balances import POINT_BALANCES

TABLE = f"{POINT_BALANCES.schema}.{POINT_BALANCES.table.name}"
COLUMNS = ", ".join(POTS)
_POSITION = "SELECT position FROM operations.checkpoints WHERE projection = %b"
_ROW = f"SELECT {COLUMNS} FROM {TABLE} WHERE account_id = %b"  # noqa: S608  names of our own


def table_position(connection: psycopg.Connection) -> int:
    """All events up to here are in the table, and no later one."""
    return int(one(connection, _POSITION, POINT_BALANCES.schema)[0])


def shown_for(connection: psycopg.Connection, account: object) -> list[int] | None:
    """What became of an account's points, as the table has it."""
    row = connection.execute(_ROW.encode(), (account,), binary=True).fetchone()
    return list(row) if row else None
