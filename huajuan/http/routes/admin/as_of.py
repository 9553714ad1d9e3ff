"""What audits over HTTP share: who is audited, as of when, and what they may be answered."""

from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg

from huajuan.audit.connection import newest
from huajuan.audit.errors import AuditError
from huajuan.audit.replay import account_of
from huajuan.audit.time_to_position import position_at
from huajuan.http import messages
from huajuan.http.errors import Answers, Refusal, answering
from huajuan.http.openapi.operations import BUSY, NO_TOKEN, Examples, Explained, Said, replies
from huajuan.http.query_params import unfit, whole_number
from huajuan.http.times import BadTime, end_of
from huajuan.projections.queries.cursors import BadCursor, place_of

AS_OF = (
    "only up to here: a position of the log, a date (the whole day), or a moment such as 2024-11-21T23:31:25Z"
)
UNKNOWN = Refusal(404, message=messages.USER_UNKNOWN)
AsOf = int | datetime | None
P = TypeVar("P")
_CURSOR_ANSWERS: Answers = {BadCursor: unfit("after")}


def audit_replies(success: tuple[type[Any], Examples], *parameters: str) -> Any:
    """What an audit may be answered; `parameters` are those that may be bad."""
    return replies(
        {
            200: success,
            400: (Explained, [{"message": messages.QUERY_UNFIT, "error": name} for name in parameters]),
            401: (Said, NO_TOKEN),
            403: (Said, [{"message": messages.NOT_ADMIN}]),
            404: (Said, [{"message": messages.USER_UNKNOWN}]),
            503: (Said, BUSY),
        }
    )


def place_in(given: dict[str, str], kind: Any, beginning: P) -> P:
    """Where the page before ended. Raises `Refusal` for what is no cursor of ours."""
    with answering(_CURSOR_ANSWERS):
        place: P = place_of(given["after"], kind) if "after" in given else beginning
        return place


def as_of_in(given: dict[str, str], zone: ZoneInfo) -> AsOf:
    """Raises `Refusal` for what is no position and no moment."""
    if "as_of" not in given:
        return None
    text = given["as_of"]
    try:
        return whole_number(text) if text.isascii() and text.isdigit() else end_of(text, zone)
    except (ValueError, BadTime):
        raise unfit("as_of") from None


def position_of(connection: psycopg.Connection, as_of: AsOf) -> int:
    """The log's last position unless told. Raises `Refusal` for one that the log has not reached."""
    last = newest(connection)[0]
    if as_of is None:
        return last
    if isinstance(as_of, datetime):
        return position_at(connection, as_of)
    if as_of > last:
        raise unfit("as_of")
    return as_of


def audited(connection: psycopg.Connection, name: str) -> UUID:
    """By username, or by the account's id in the log. Raises `Refusal` for nobody."""
    try:
        return account_of(connection, name)
    except AuditError:
        raise UNKNOWN from None
