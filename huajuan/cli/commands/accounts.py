"""`points`, `admin` and `users`: act on one account, with a reason that the log records."""

import asyncio
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from huajuan.cli.arguments import (
    add_account_arguments,
    is_by_id,
    parse_reason,
    signed_number,
    unknown_id,
    whole_number,
)
from huajuan.cli.database import existing_database, open_statements, open_store
from huajuan.cli.output import print_done, print_result, printable
from huajuan.commands.erase_account import reject_account
from huajuan.commands.moderation import (
    adjust_points,
    approve_account,
    ban_account,
    grant_admin,
    reset_check_in,
    revoke_admin,
    unban_account,
)
from huajuan.domain import refusals
from huajuan.domain.rules import ADJUSTMENT_MAX
from huajuan.event_store.store import ChangeResult, EventStore, account_registered_at
from huajuan.http.serializers import wire_time
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.queries.accounts import PendingUser, list_pending_users
from huajuan.runtime.errors import OperatorError
from huajuan.settings import Settings
from huajuan.storage.deletions import Erasures

PENDING = "pending"
PENDING_MAX = 100
_ERRORS: dict[type[Exception], str] = {
    refusals.NotRegistered: "there is no account {name}",
    refusals.AlreadyAdmin: "{name} is already an admin",
    refusals.NotAdmin: "{name} is not an admin",
    refusals.NotPending: "{name} does not wait for approval",
    refusals.AlreadyBanned: "{name} is already banned",
    refusals.NotBanned: "{name} is not banned",
    refusals.NotEnoughPoints: "{name} has fewer points than that; --force deducts them anyway",
    refusals.BalanceOutOfRange: "the balance of {name} would be outside the allowed range",
    refusals.PointsInvalid: f"the number of points must be 1 to {ADJUSTMENT_MAX:,}",
}


class AccountAct(NamedTuple):
    """`change` gets the event store, the `Erasures` if it `erases`, the account's id, and the reason.

    `done` is a message with `{name}`, and with `{account}`, the account as it is then.
    """

    change: Callable[..., Awaitable[ChangeResult]]
    done: str
    help: str = ""
    erases: bool = False


ROLE_ACTS = {
    "grant": AccountAct(grant_admin, "{name} is an admin now", "make an account an admin"),
    "revoke": AccountAct(revoke_admin, "{name} is no admin any more", "remove the role"),
}
USER_ACTS = {
    "approve": AccountAct(
        approve_account, "{name} may log in now", "approve an account that waits for approval"
    ),
    "reject": AccountAct(
        reject_account,
        "{name} is rejected and erased",
        "erase an account that waits for approval",
        erases=True,
    ),
    "reset-check-in": AccountAct(
        reset_check_in, "{name} may check in again", "let an account check in again today"
    ),
    "ban": AccountAct(
        ban_account,
        "{name} is banned now",
        "ban an account, also an admin's: its sessions end, and log-ins are rejected",
    ),
    "unban": AccountAct(unban_account, "{name} is banned no more", "lift a ban"),
}


def add_points_arguments(parser: ArgumentParser) -> None:
    add_account_arguments(parser)
    parser.add_argument(
        "change", type=signed_number, metavar="±N", help="points to add or to deduct, with a sign: +50, -20"
    )
    parser.add_argument("--reason", required=True, help="recorded in the log")
    parser.add_argument(
        "--force", action="store_true", help="deduct the points even if the balance falls below zero"
    )


def run_points(settings: Settings, arguments: Namespace) -> int:
    def adjust(store: EventStore, account_id: UUID, reason: str) -> Awaitable[ChangeResult]:
        return adjust_points(store, account_id, arguments.change, reason, forced=arguments.force)

    done = "{name} has {account.balance} points now"
    return _change_account(settings, arguments, AccountAct(adjust, done))


def add_admin_arguments(parser: ArgumentParser) -> None:
    _add_acts(parser, "act_on_role", ROLE_ACTS, reason_required=False)


def run_admin(settings: Settings, arguments: Namespace) -> int:
    return _change_account(settings, arguments, ROLE_ACTS[arguments.act_on_role])


def add_users_arguments(parser: ArgumentParser) -> None:
    acts = _add_acts(parser, "act_on_user", USER_ACTS, reason_required=True)
    text = "list the accounts that wait for approval: id, time, name, e-mail address"
    subparser = acts.add_parser(PENDING, help=text, description=text)
    subparser.add_argument(
        "--limit", type=whole_number, default=PENDING_MAX, metavar="N", help="the maximum number of accounts"
    )


def run_users(settings: Settings, arguments: Namespace) -> int:
    if arguments.act_on_user == PENDING:
        return _list_pending(settings, arguments.limit)
    return _change_account(settings, arguments, USER_ACTS[arguments.act_on_user])


def _add_acts(
    parser: ArgumentParser, name: str, acts: Mapping[str, AccountAct], *, reason_required: bool
) -> Any:
    subparsers = parser.add_subparsers(dest=name, required=True, metavar="ACT")
    for act, described in acts.items():
        subparser = subparsers.add_parser(act, help=described.help, description=described.help)
        add_account_arguments(subparser)
        subparser.add_argument("--reason", required=reason_required, help="recorded in the log")
    return subparsers


def _change_account(settings: Settings, arguments: Namespace, act: AccountAct) -> int:
    reason = parse_reason(arguments.reason)
    with existing_database(settings) as database:
        print_done(asyncio.run(_change(settings, database.dsn, arguments, act, reason)))
    return 0


async def _change(settings: Settings, dsn: str, arguments: Namespace, act: AccountAct, reason: str) -> str:
    async with open_store(settings, dsn) as (store, statements):
        account_id, name = await _find(store, arguments)
        services = (store, Erasures(statements)) if act.erases else (store,)
        try:
            changed = await act.change(*services, account_id, reason)
        except tuple(_ERRORS) as error:
            raise OperatorError(_ERRORS[type(error)].format(name=name)) from None
    return act.done.format(name=name, account=changed.aggregates[0])


async def _find(store: EventStore, arguments: Namespace) -> tuple[UUID, str]:
    """The account, and what messages call it. An unknown name is found by the command that follows."""
    if not is_by_id(arguments):
        return store.stream_ids.account(arguments.name), printable(arguments.name)
    found = await account_registered_at(store, arguments.id)
    if found is None:
        raise unknown_id(arguments.id)
    return found.id, printable(found.username or f"account {arguments.id}")


def _list_pending(settings: Settings, limit: int) -> int:
    if limit < 1:
        raise OperatorError("--limit must be at least 1")
    with existing_database(settings) as database:
        for user in asyncio.run(_pending(settings, database.dsn, limit)):
            name, email = printable(user.username), printable(user.email)
            print_result(f"{user.id}  {wire_time(user.create_time)}  {name}  {email}")
    return 0


async def _pending(settings: Settings, dsn: str, limit: int) -> list[PendingUser]:
    async with open_statements(settings, dsn) as statements:
        return await list_pending_users(ReadTables(statements), limit, 0)
