"""The points of an account, folded from the log alone as of any moment."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Literal
from uuid import UUID

import msgspec
import psycopg
from litestar import Request, Response
from litestar.params import FromPath

from huajuan.audit.connection import stop_after
from huajuan.audit.event_lookup import EventReader, drawn_positions, requested_positions
from huajuan.audit.ledger import POTS
from huajuan.audit.past import usernames_of
from huajuan.audit.replay import LedgerEntry, Replay, ReplayOutcome
from huajuan.http import messages
from huajuan.http.audit_pool import AuditPool
from huajuan.http.content_negotiation import csv_response, format_of
from huajuan.http.errors import UNKNOWN_USER
from huajuan.http.openapi.operations import (
    FORMAT,
    PAGE_PARAMETERS,
    csv_content,
    invalid_parameters,
    operation,
    query_params,
)
from huajuan.http.openapi.responses import MessageResponse
from huajuan.http.request import cursor_in, limit_of, query_of
from huajuan.http.routes.admin.past import AS_OF, AsOf, as_of_in, position_of, resolve_audited_account
from huajuan.http.routes.points import NO_STORE, PositionCursor
from huajuan.http.serializers import EXAMPLE_PICTURE, Address, Moment, picture_address, wire_time
from huajuan.http.urls import next_page
from huajuan.projections.queries import encode_cursor
from huajuan.settings import Settings

AuditedHold = Literal["held", "settled", "returned", "forfeited"]
_HOLDS: Mapping[str, AuditedHold] = {
    "points_held": "held",
    "points_settled": "settled",
    "points_returned": "returned",
}


class EntryOnWire(msgspec.Struct):
    """One event. `image` is the picture's id in the log, `image_id` its id in lists, once it was drawn.

    `generation_id` is the picture's job, and `status` the state of its points at the end of the audit.
    `actor` is another account that acted, by name, or by its id in the log if it is erased.
    """

    position: int
    time: Moment
    what: str
    change: int
    balance: int
    held: int
    reason: str | None
    image: str | None
    image_id: int | None
    picture: Address | None
    actor: str | None
    correlation_id: str | None
    status: AuditedHold | None
    generation_id: int | None


class Totals(msgspec.Struct):
    """The sums of all points: granted = available + held + spent + deducted + forfeited."""

    granted: int
    available: int
    held: int
    spent: int
    deducted: int
    forfeited: int


class ReplayResponse(MessageResponse, kw_only=True):
    """Entries, oldest first, up to `position`; a `Link` header leads to later ones. Totals are of all
    entries.

    `agrees` is whether the table of balances shows the same, `null` if it stands at another position.
    """

    account_id: str
    position: int
    entries: list[EntryOnWire]
    totals: Totals
    agrees: bool | None
    verdict: str


class EntryPage(msgspec.Struct):
    """A page of entries with the names and ids that it needs, and the outcome of all entries.

    `ids` and `jobs` are the integer ids of pictures and of their jobs, `holds` the states of the held points.
    """

    entries: list[LedgerEntry]
    ids: dict[UUID, int]
    jobs: dict[UUID, int]
    holds: dict[UUID, AuditedHold]
    names: dict[UUID, str]
    outcome: ReplayOutcome


EXAMPLE_ENTRY = {
    "position": 4711, "time": "2024-11-21T23:31:05.1Z", "what": "points_held", "change": -20, "balance": 80,
    "held": 20, "reason": None, "image": "5f0c6a1e-9d6b-4d0f-8a3c-2b1e7d9f4a60", "image_id": 4713,
    "picture": EXAMPLE_PICTURE, "actor": None, "correlation_id": "8d1f",
    "status": "settled", "generation_id": 4712,
}  # fmt: skip
_EXAMPLE = {
    "message": messages.SUCCEEDED,
    "account_id": "0f8a3c2b-1e7d-5f4a-8a3c-2b1e7d9f4a60",
    "position": 4711,
    "entries": [EXAMPLE_ENTRY],
    "totals": {"granted": 100, "available": 80, "held": 20, "spent": 0, "deducted": 0, "forfeited": 0},
    "agrees": True,
    "verdict": "table agrees (at position 4711)",
}


@operation(
    "Admin",
    success={200: (ReplayResponse, [_EXAMPLE])},
    content=csv_content(EXAMPLE_ENTRY),
    parameters=query_params(as_of=AS_OF, **PAGE_PARAMETERS, format=f"{FORMAT}: the entries alone"),
    raises=(UNKNOWN_USER, *invalid_parameters("as_of", "limit", "after", "format")),
)
async def replay_points(
    request: Request[Any, Any, Any], username: FromPath[str], audit_pool: AuditPool, settings: Settings
) -> Response[Any]:
    """The points of an account, computed from the log alone. `agrees` compares the read table."""
    given = query_of(request)
    format_ = format_of(request, given)
    as_of, limit = as_of_in(given, settings.zone), limit_of(given, settings.list_rows_max)
    after, seconds_max = cursor_in(given, PositionCursor, 0), audit_pool.limits.replay_seconds_max
    found = await audit_pool.run_in_snapshot(partial(_replay, username, as_of, after, limit + 1, seconds_max))
    headers = dict(NO_STORE) | {"Vary": "Accept"}
    if len(found.entries) > limit:
        later = encode_cursor(found.entries[limit - 1].position)
        headers |= next_page(request, settings.public_address, given, later)
    entries = [_on_wire(entry, found, settings.public_address) for entry in found.entries[:limit]]
    if format_ != "json":
        return csv_response(format_, EntryOnWire, entries, headers)
    return Response(_reply(entries, found.outcome), headers=headers)


def _replay(
    name: str, as_of: AsOf, after: int, most: int, seconds_max: float, connection: psycopg.Connection
) -> EntryPage:
    account = resolve_audited_account(connection, name)
    replay = Replay(connection, account, position_of(connection, as_of))
    entries, holds = _page(stop_after(seconds_max, replay.entries()), after, most)
    images = [entry.image_id for entry in entries if entry.image_id]
    names = usernames_of(EventReader(connection), {entry.actor for entry in entries})
    ids, jobs = (find(connection, images, replay.last) for find in (drawn_positions, requested_positions))
    return EntryPage(entries, ids, jobs, holds, names, replay.outcome())


def _page(
    entries: Iterable[LedgerEntry], after: int, most: int
) -> tuple[list[LedgerEntry], dict[UUID, AuditedHold]]:
    """One page and the states of its holds. All entries are read, because the totals need them.

    Raises `ApiError` if there is no entry: the account did not exist yet.
    """
    page: list[LedgerEntry] = []
    holds: dict[UUID, AuditedHold] = {}
    is_empty = True
    for entry in entries:
        is_empty = False
        is_on_page = entry.position > after and len(page) < most
        if is_on_page:
            page.append(entry)
        if entry.image_id and (is_on_page or entry.image_id in holds):
            holds[entry.image_id] = _HOLDS[entry.what]
        elif entry.what == "erased":
            holds |= {image: "forfeited" for image, hold in holds.items() if hold == "held"}
    if is_empty:
        raise UNKNOWN_USER
    return page, holds


def _on_wire(entry: LedgerEntry, found: EntryPage, address: str) -> EntryOnWire:
    image, actor = entry.image_id, entry.actor
    image_id = found.ids.get(image) if image else None
    changed = {
        "time": wire_time(datetime.fromisoformat(entry.time)),
        "image_id": image_id,
        "status": found.holds.get(image) if image else None,
        "generation_id": found.jobs.get(image) if image else None,
        "actor": found.names.get(actor, str(actor)) if actor else None,
    }
    return EntryOnWire(
        **entry._asdict() | changed,
        image=str(image) if image else None,
        picture=picture_address(address, f"{image.hex}.png") if image and image_id else None,
    )


def _reply(entries: list[EntryOnWire], outcome: ReplayOutcome) -> ReplayResponse:
    return ReplayResponse(
        code=200,
        message=messages.SUCCEEDED,
        account_id=str(outcome.account_id),
        position=outcome.position,
        entries=entries,
        totals=Totals(*(outcome.pots[pot] for pot in POTS)),
        agrees=outcome.agrees,
        verdict=outcome.says,
    )
