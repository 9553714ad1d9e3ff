"""Verifies the log within a time limit. The command line verifies it without one."""

import time
from functools import partial
from typing import Any

import msgspec
import psycopg
from litestar import Response

from huajuan.audit.connection import AuditTimeout, fetch_one, read_log_head, stream_ids
from huajuan.audit.hash_chain import Damage, log_pages
from huajuan.audit.stream_gaps import find_first_gap
from huajuan.audit.verify import VerificationTarget
from huajuan.audit.verify import verify as verify_pages
from huajuan.http import messages
from huajuan.http.audit_pool import AuditPool
from huajuan.http.errors import ApiError
from huajuan.http.openapi.operations import operation
from huajuan.http.openapi.responses import MessageResponse
from huajuan.http.routes.points import NO_STORE

IN_PROGRESS = ApiError(409, message=messages.IN_PROGRESS)
_TRY_LOCK = "SELECT pg_try_advisory_lock(hashtext('huajuan verify'))"


class DamageOnWire(msgspec.Struct):
    """The first bad position, and the kind of damage."""

    position: int
    kind: str
    says: str


class VerifyResponse(MessageResponse, kw_only=True):
    """Whether the log is whole up to `last`; `null` if the time was over at `position`."""

    whole: bool | None
    position: int
    last: int
    damage: DamageOnWire | None


_EXAMPLES: list[dict[str, Any]] = [
    {"message": messages.SUCCEEDED, "whole": True, "position": 4711, "last": 4711, "damage": None},
    {"message": messages.SUCCEEDED, "whole": None, "position": 4000, "last": 4711, "damage": None},
    {
        "message": messages.SUCCEEDED,
        "whole": False,
        "position": 8,
        "last": 4711,
        "damage": {"position": 9, "kind": "changed", "says": "its content is not what was written"},
    },
    {
        "message": messages.SUCCEEDED,
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


@operation("Admin", examples=_EXAMPLES, raises=(IN_PROGRESS,))
async def verify(audit_pool: AuditPool) -> Response[VerifyResponse]:
    """Verify that no byte of the log was changed and no stream has a gap.

    One at a time, and only within a time limit.
    """
    seconds_max = audit_pool.limits.verify_seconds_max
    return Response(await audit_pool.run(partial(_verify, seconds_max)), headers=NO_STORE)


def _verify(seconds_max: float, connection: psycopg.Connection) -> VerifyResponse:
    if not fetch_one(connection, _TRY_LOCK)[0]:
        raise IN_PROGRESS
    last, claim = read_log_head(connection)[0], VerificationTarget(str(stream_ids(connection).installation()))
    progress = _VerifyProgress(seconds_max)
    try:
        gap = partial(find_first_gap, connection, lambda: progress.report(last))
        verdict = verify_pages(log_pages(connection, last), claim, {}, None, progress.report, gap)
    except AuditTimeout:
        return _reply(None, progress.position, last, None)
    return _reply(verdict.whole, verdict.position, last, verdict.damage)


def _reply(whole: bool | None, position: int, last: int, damage: Damage | None) -> VerifyResponse:
    on_wire = DamageOnWire(damage.position, damage.kind, damage.says) if damage else None
    return VerifyResponse(
        code=200, message=messages.SUCCEEDED, whole=whole, position=position, last=last, damage=on_wire
    )


class _VerifyProgress:
    """Records the position that was reached, and stops after the time limit."""

    def __init__(self, seconds_max: float) -> None:
        self._deadline = time.monotonic() + seconds_max
        self.position = 0

    def report(self, position: int) -> None:
        self.position = position
        if time.monotonic() > self._deadline:
            raise AuditTimeout("the time limit is over")
