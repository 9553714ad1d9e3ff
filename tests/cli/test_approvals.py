"""`users approve`, `reject` and `pending`; each error is one line."""

import asyncio

import pytest

from huajuan.commands.accounts import RegistrationForm, register
from huajuan.domain.account import Account
from tests.cli.conftest import Type
from tests.commands.people import account_of
from tests.event_store.helpers import log_rows
from tests.services import services_on

REASON = ("--reason", "a colleague")


def apply(dsn: str, *names: str) -> list[int]:
    """Returns their ids."""

    async def applying() -> list[int]:
        async with services_on(dsn) as services:
            ids = []
            for name in names:
                form = RegistrationForm(name, f"{name}@example.org", "secret")
                decided = await register(services.store, services.passwords, form, 40, needs_approval=True)
                await services.read_your_writes.wait_for(decided.position, *services.projector.projections)
                # The registration is the first of three events.
                ids.append(decided.position - 2)
            return ids

    return asyncio.run(applying())


def account(dsn: str, name: str) -> Account:
    async def found() -> Account:
        async with services_on(dsn) as services:
            return await account_of(services, services.store.stream_ids.account(name))

    return asyncio.run(found())


def test_an_account_is_approved_by_its_name_or_its_id(type_in: Type, database_url: str) -> None:
    _, number = apply(database_url, "安妮", "ben")
    assert type_in("users", "approve", "安妮", *REASON) == (0, "安妮 may log in now\n", "")
    done = "ben may log in now\n"
    assert type_in("users", "approve", "--id", str(number), *REASON) == (0, done, "")
    for name in ("安妮", "ben"):
        approved = account(database_url, name)
        assert (approved.is_pending, approved.balance) == (False, 40)
    assert "a colleague" in type_in("timeline", "ben").out
    actors = log_rows(database_url, "convert_from(state, 'UTF8')::jsonb->>'actor', topic")
    assert [actor for actor, topic in actors if topic == "account.approved"] == [None, None]


def test_a_rejected_account_is_erased(type_in: Type, database_url: str) -> None:
    apply(database_url, "ann")
    assert type_in("users", "reject", "ann", *REASON) == (0, "ann is rejected and erased\n", "")
    assert account(database_url, "ann").is_erased
    assert type_in("users", "approve", "ann", *REASON) == (1, "", "huajuan: there is no account ann\n")


def test_pending_accounts_are_listed(type_in: Type, database_url: str) -> None:
    first, second = apply(database_url, "ann", "ben")
    listed = [line.split("  ") for line in type_in("users", "pending").out.splitlines()]
    assert [(line[0], *line[2:]) for line in listed] == [
        (str(first), "ann", "ann@example.org"),
        (str(second), "ben", "ben@example.org"),
    ]
    assert len(type_in("users", "pending", "--limit", "1").out.splitlines()) == 1
    assert type_in("users", "pending", "--limit", "0") == (1, "", "huajuan: --limit must be at least 1\n")


@pytest.mark.parametrize("act", ["approve", "reject"])
def test_errors_are_one_line(type_in: Type, database_url: str, act: str) -> None:
    (number,) = apply(database_url, "ann")
    assert type_in("users", act, "nobody", *REASON) == (1, "", "huajuan: there is no account nobody\n")
    for bad in (number + 1, 10**17):
        line = f"huajuan: there is no account with the id {bad}\n"
        assert type_in("users", act, "--id", str(bad), *REASON) == (1, "", line)
    line = "huajuan: a reason is one line of up to 500 characters\n"
    assert type_in("users", act, "ann", "--reason", " ") == (1, "", line)
    type_in("users", "approve", "ann", *REASON)
    line = "huajuan: ann does not wait for approval\n"
    assert type_in("users", act, "ann", *REASON) == (1, "", line)


@pytest.mark.parametrize(
    "arguments",
    [("approve",), ("approve", "ann"), ("reject", *REASON), ("approve", "ann", "--id", "1", *REASON)],
)
def test_invalid_arguments_print_the_usage(type_in: Type, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as refused:
        type_in("users", *arguments)
    assert refused.value.code == 1
