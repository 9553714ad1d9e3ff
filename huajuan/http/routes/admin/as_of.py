"""Parts that the audits over HTTP share: the account, the position, and the errors."""

from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg

from huajuan.audit.connection import AuditError, read_log_head
from huajuan.audit.past import position_at
from huajuan.audit.replay import find_account
from huajuan.http.errors import UNKNOWN_USER, invalid_parameter
from huajuan.http.query_params import end_of, read_parameter, whole_number

AS_OF = (
    "only up to here: a position of the log, a date (the whole day), or a moment such as 2024-11-21T23:31:25Z"
)
AsOf = int | datetime | None


def as_of_in(given: dict[str, str], zone: ZoneInfo) -> AsOf:
    """Raises `ApiError` if it is neither a position nor a time."""

    def read(text: str) -> int | datetime:
        return whole_number(text) if text.isascii() and text.isdigit() else end_of(text, zone)

    return read_parameter(given, "as_of", read)


def position_of(connection: psycopg.Connection, as_of: AsOf) -> int:
    """The last position of the log by default. Raises `ApiError` for a position after that."""
    last = read_log_head(connection)[0]
    if as_of is None:
        return last
    if isinstance(as_of, datetime):
        return position_at(connection, as_of)
    if as_of > last:
        raise invalid_parameter("as_of")
    return as_of


def resolve_audited_account(connection: psycopg.Connection, name: str) -> UUID:
    """The account by username or by its id in the log. Raises `ApiError` if there is none."""
    try:
        return find_account(connection, name)
    except AuditError:
        raise UNKNOWN_USER from None
