"""The table of pending accounts: those that wait for an admin's approval."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from huajuan.domain.account import Account
from huajuan.projections.engine.projection import Projection, Touch, of_stream
from huajuan.projections.engine.table import Table


class PendingRow(msgspec.Struct):
    """An account that waits, and since when."""

    account_id: UUID
    since: datetime


def requested(_: PendingRow | None, event: Account.ApprovalRequested, __: int) -> PendingRow:
    return PendingRow(event.originator_id, event.timestamp)


def decided(_: PendingRow | None, __: Any, ___: int) -> None:
    """Approved, rejected or erased: it waits no longer."""


PENDING_ACCOUNTS = Projection(
    "pending_accounts",
    version=1,
    table=Table("pending_accounts", PendingRow, "account_id"),
    touches={
        Account.ApprovalRequested: Touch(of_stream, requested),
        Account.Approved: Touch(of_stream, decided),
        Account.Rejected: Touch(of_stream, decided),
        Account.Erased: Touch(of_stream, decided),
    },
)
