"""Anybody's points, folded from the log alone as of any moment: why the balance is what it is."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Literal
from uuid import UUID

import msgspec
import psycopg
from litestar import Request, Response, get
from litestar.params import FromPath

from huajuan.audit.event_lookup import drawn_at, requested_at
from huajuan.audit.events import Reader
from huajuan.audit.ledger import POTS
from huajuan.audit.limits import within
from huajuan.audit.replay import Entry, Outcome, Replay
from huajuan.audit.timeline import names_of
from huajuan.http import messages
from huajuan.http.csv_replies import FORMAT, csv_reply, format_of, may_be_csv
from huajuan.http.links import next_page
from huajuan.http.openapi.operations import Said, asks_of_path
from huajuan.http.query_params import limit_of, query_of
from huajuan.http.routes.admin.as_of import (
    AS_OF,
    UNKNOWN,
    AsOf,
    as_of_in,
    audit_replies,
    audited,
    place_in,
    position_of,
)
from huajuan.http.routes.check_in import NO_STORE
from huajuan.http.routes.points import Place
from huajuan.http.serializers import EXAMPLE_PICTURE, Address, Moment, picture_address, wire_time
from huajuan.http.services import AtDesk
from huajuan.projections.queries.cursors import cursor_at

AuditedHold = Literal["held", "settled", "returned", "forfeited"]
_HOLDS: Mapping[str, AuditedHold] = {
    "points_held": "held",
    "points_settled": "settled",
    "points_returned": "returned",
}


class EntryOnWire(msgspec.Struct):
    """One event. `image` is the picture's id in the log, `image_id` its id in lists, once it was drawn.

    `generation_id` is the picture's job, and `status` what had become of its points when the audit ends.

    `actor` is who else acted, by name, or by the id in the log where they are erased.
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
    """What became of all points: granted = available + held + spent + deducted + forfeited."""

    granted: int
    available: int
    held: int
    spent: int
    deducted: int
    forfeited: int


class ReplayReply(Said, kw_only=True):
    """Entries, oldest first, up to `position`; a `Link` header leads to later ones. Totals are of all entries.

    `agrees` is whether the table of balances shows the same, `null` where it has gone on; `verdict` says more.
    """

    account_id: str
    position: int
    entries: list[EntryOnWire]
    totals: Totals
    agrees: bool | None
    verdict: str


class Replayed(msgspec.Struct):
    """A page of entries with what stands beside them, and what all entries came to.

    `ids` and `jobs` are ids of pictures and of their jobs, `holds` what became of the points of each picture.
    """

    entries: list[Entry]
    ids: dict[UUID, int]
    jobs: dict[UUID, int]
    holds: dict[UUID, AuditedHold]
    names: dict[UUID, str]
    outcome: Outcome


EXAMPLE_ENTRY = {
    "position": 4711, "time": "2024-11-21T23:31:05.1Z", "what": "points_held", "change": -20, "balance": 80,
    "held": 20, "reason": None, "image": "5f0c6a1e-9d6b-4d0f-8a3c-2b1e7d9f4a60", "image_id": 4713,
    "picture": EXAMPLE_PICTURE, "actor": None, "correlation_id": "8d1f",
    "status": "settled", "generation_id": 4712,
}  # fmt: skip
_EXAMPLE = {
    "message": messages.WELL,
    "account_id": "0f8a3c2b-1e7d-5f4a-8a3c-2b1e7d9f4a60",
    "position": 4711,
    "entries": [EXAMPLE_ENTRY],
    "totals": {"granted": 100, "available": 80, "held": 20, "spent": 0, "deducted": 0, "forfeited": 0},
    "agrees": True,
    "verdict": "table agrees (at position 4711)",
}
_ASKED = asks_of_path(
    as_of=AS_OF,
    limit="how many entries at most",
    after="where the `Link` of the page before leads",
    format=f"{FORMAT}: the entries alone",
)


@get(
    "/admin/users/{username:str}/points",
    tags=["Admin"],
    operation_id="ReplayPoints",
    operation_class=may_be_csv(_ASKED, EXAMPLE_ENTRY),
    responses=audit_replies((ReplayReply, [_EXAMPLE]), "as_of", "limit", "format"),
)
async def replayed_points(
    request: Request[Any, Any, Any], username: FromPath[str], desk: AtDesk
) -> Response[Any]:
    """Why somebody has the points they have, from the log alone. Ends with whether the table agrees."""
    given, settings = query_of(request), desk.settings
    format_ = format_of(request, given)
    as_of, limit = as_of_in(given, settings.zone), limit_of(given, settings.list_rows_max)
    after, seconds_max = place_in(given, Place, 0), settings.audit.replay_seconds_max
    found = await desk.auditors.ask(partial(_replay, username, as_of, after, limit + 1, seconds_max))
    headers = dict(NO_STORE) | {"Vary": "Accept"}
    if len(found.entries) > limit:
        later = cursor_at(found.entries[limit - 1].position)
        headers |= next_page(request, settings.public_address, given, later)
    entries = [_on_wire(entry, found, settings.public_address) for entry in found.entries[:limit]]
    if format_ != "json":
        return csv_reply(format_, EntryOnWire, entries, headers)
    return Response(_reply(entries, found.outcome), headers=headers)


def _replay(
    name: str, as_of: AsOf, after: int, most: int, seconds_max: float, connection: psycopg.Connection
) -> Replayed:
    account = audited(connection, name)
    replay = Replay(connection, account, position_of(connection, as_of))
    entries, holds = _page(within(seconds_max, replay.entries()), after, most)
    images = [entry.image_id for entry in entries if entry.image_id]
    names = names_of(Reader(connection), {entry.actor for entry in entries})
    ids, jobs = (find(connection, images, replay.last) for find in (drawn_at, requested_at))
    return Replayed(entries, ids, jobs, holds, names, replay.outcome())


def _page(entries: Iterable[Entry], after: int, most: int) -> tuple[list[Entry], dict[UUID, AuditedHold]]:
    """All of them are gone through, for the totals and for what became of each hold on the page.

    Raises `Refusal` where there was nobody yet.
    """
    page: list[Entry] = []
    holds: dict[UUID, AuditedHold] = {}
    some = False
    for entry in entries:
        some = True
        is_on_page = entry.position > after and len(page) < most
        if is_on_page:
            page.append(entry)
        if entry.image_id and (is_on_page or entry.image_id in holds):
            holds[entry.image_id] = _HOLDS[entry.what]
        elif entry.what == "erased":
            holds |= {image: "forfeited" for image, hold in holds.items() if hold == "held"}
    if not some:
        raise UNKNOWN
    return page, holds


def _on_wire(entry: Entry, found: Replayed, address: str) -> EntryOnWire:
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


def _reply(entries: list[EntryOnWire], outcome: Outcome) -> ReplayReply:
    return ReplayReply(
        code=200,
        message=messages.WELL,
        account_id=str(outcome.account_id),
        position=outcome.position,
        entries=entries,
        totals=Totals(*(outcome.pots[pot] for pot in POTS)),
        agrees=outcome.agrees,
        verdict=outcome.says,
    )
