"""The read table `pending_accounts`: accounts that wait for an admin's approval."""

from datetime import datetime
from uuid import UUID

import msgspec

from huajuan.domain.account import Account
from huajuan.projections.engine.projection import Handler, Projection, delete_row, of_stream
from huajuan.projections.engine.table import Table


class PendingRow(msgspec.Struct):
    """A pending account; `since` is the time of the registration."""

    account_id: UUID
    since: datetime


def requested(_: PendingRow | None, event: Account.ApprovalRequested, __: int) -> PendingRow:
    return PendingRow(event.originator_id, event.timestamp)


PENDING_ACCOUNTS = Projection(
    "pending_accounts",
    version=1,
    table=Table("pending_accounts", PendingRow, "account_id"),
    handlers={
        Account.ApprovalRequested: Handler(of_stream, requested),
        Account.Approved: Handler(of_stream, delete_row),
        Account.Rejected: Handler(of_stream, delete_row),
        Account.Erased: Handler(of_stream, delete_row),
    },
)
