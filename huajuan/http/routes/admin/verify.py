"""Proves to an admin that the log is whole, as far as there is time; the command line takes all the time it needs."""

import time
from functools import partial
from typing import Any

import msgspec
import psycopg
from litestar import Response, post

from huajuan.audit.connection import newest, one, stream_ids
from huajuan.audit.gaps import first_gap
from huajuan.audit.limits import AuditTooLong
from huajuan.audit.log_pages import log_pages
from huajuan.audit.tamper_diagnosis import Damage
from huajuan.audit.verify import Claim, verify
from huajuan.http import messages
from huajuan.http.errors import Refusal
from huajuan.http.openapi.operations import BUSY, NO_TOKEN, Said, replies
from huajuan.http.routes.check_in import NO_STORE
from huajuan.http.services import AtDesk

_ALONE = "SELECT pg_try_advisory_lock(hashtext('huajuan verify'))"


class DamageOnWire(msgspec.Struct):
    """The first bad position, and what was done there."""

    position: int
    kind: str
    says: str


class VerifyReply(Said, kw_only=True):
    """Whether the log is whole up to `last`; `null` if there was time only for what stands up to `position`."""

    whole: bool | None
    position: int
    last: int
    damage: DamageOnWire | None


_EXAMPLES: list[dict[str, Any]] = [
    {"message": messages.WELL, "whole": True, "position": 4711, "last": 4711, "damage": None},
    {"message": messages.WELL, "whole": None, "position": 4000, "last": 4711, "damage": None},
    {
        "message": messages.WELL,
        "whole": False,
        "position": 8,
        "last": 4711,
        "damage": {"position": 9, "kind": "changed", "says": "its content is not what was written"},
    },
    {
        "message": messages.WELL,
        "whole": False,
        "position": 4711,
        "last": 4711,
        "damage": {
            "position": 4001,
            "kind": "gap",
            "says": "stream 2f1c4a5e-0b7d-4c55-9a53-6a1d0f6f3c11 goes on with version 379 after 22: "
            "events between are missing",
        },
    },
]


@post(
    "/admin/verify",
    tags=["Admin"],
    status_code=200,
    operation_id="Verify",
    responses=replies(
        {
            200: (VerifyReply, _EXAMPLES),
            401: (Said, NO_TOKEN),
            403: (Said, [{"message": messages.NOT_ADMIN}]),
            409: (Said, [{"message": messages.IN_PROGRESS}]),
            503: (Said, BUSY),
        }
    ),
)
async def verify_log(desk: AtDesk) -> Response[VerifyReply]:
    """Prove that no byte of the log was changed and no stream has a gap.

    One at a time, and only as far as there is time for.
    """
    seconds_max = desk.settings.audit.verify_seconds_max
    return Response(await desk.auditors.walk(partial(_verify, seconds_max)), headers=NO_STORE)


def _verify(seconds_max: float, connection: psycopg.Connection) -> VerifyReply:
    if not one(connection, _ALONE)[0]:
        raise Refusal(409, message=messages.IN_PROGRESS)
    last, claim = newest(connection)[0], Claim(str(stream_ids(connection).installation()))
    clock = _Clock(seconds_max)
    try:
        gap = partial(first_gap, connection, lambda: clock.told(last))
        verdict = verify(log_pages(connection, last), claim, {}, None, clock.told, gap)
    except AuditTooLong:
        return _reply(None, clock.position, last, None)
    return _reply(verdict.whole, verdict.position, last, verdict.damage)


def _reply(whole: bool | None, position: int, last: int, damage: Damage | None) -> VerifyReply:
    named = DamageOnWire(damage.position, damage.kind, damage.says) if damage else None
    return VerifyReply(
        code=200, message=messages.WELL, whole=whole, position=position, last=last, damage=named
    )


class _Clock:
    """Hears how far it has come, and says when there is no more time."""

    def __init__(self, seconds_max: float) -> None:
        self._give_up_at = time.monotonic() + seconds_max
        self.position = 0

    def told(self, position: int) -> None:
        self.position = position
        if time.monotonic() > self._give_up_at:
            raise AuditTooLong("there is no more time")
