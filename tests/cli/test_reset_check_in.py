"""`users reset-check-in`, by name or by id."""

import asyncio
from datetime import date

import pytest

from huajuan.domain.account import Account
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import EventStore
from tests.cli.conftest import Type
from tests.event_store.helpers import log_rows, opened, register

FAR_AHEAD = date(2999, 1, 1)


def checked_in_ahead(dsn: str, name: str) -> None:
    """As after a check-in with a clock that was far ahead."""

    def decide(account: Account | None) -> list[Account]:
        assert account
        account.check_in(FAR_AHEAD)
        return [account]

    async def one() -> None:
        async with opened(dsn) as store:
            await store.change(decide, Stream(Account, await register(store, name)))

    asyncio.run(one())


def last_check_in(dsn: str, name: str) -> date | None:
    async def found() -> date | None:
        async with opened(dsn) as store:
            account = await store.find(Account, store.stream_ids.account(name))
            assert account
            return account.last_check_in

    return asyncio.run(found())


@pytest.mark.parametrize("arguments", [("小明",), ("--id", "1")])
def test_an_account_may_check_in_again(type_in: Type, database_url: str, arguments: tuple[str, ...]) -> None:
    checked_in_ahead(database_url, "小明")
    assert last_check_in(database_url, "小明") == FAR_AHEAD
    done = type_in("users", "reset-check-in", *arguments, "--reason", "the clock was wrong")
    assert done == (0, "小明 may check in again\n", "")
    assert last_check_in(database_url, "小明") is None
    told = type_in("timeline", "小明").out
    assert "had the check-in reset and may check in again: the clock was wrong" in told
    line = next(line for line in type_in("replay", "小明").out.splitlines() if "check_in_reset" in line)
    assert "the clock was wrong" in line
    actors = "convert_from(state, 'UTF8')::jsonb->>'actor'"
    assert log_rows(database_url, actors)[-1] == (None,)
    assert "clock" not in str(log_rows(database_url, "convert_from(state, 'UTF8')"))


@pytest.mark.parametrize("arguments", [("nobody",), ("--id", "3"), ("--id", "9" * 18)])
def test_an_unknown_account_is_one_line(type_in: Type, database_url: str, arguments: tuple[str, ...]) -> None:
    checked_in_ahead(database_url, "ann")
    account = arguments[0] if len(arguments) == 1 else f"with the id {arguments[1]}"
    refused = type_in("users", "reset-check-in", *arguments, "--reason", "x")
    assert refused == (1, "", f"huajuan: there is no account {account}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("reset-check-in", "ann"),
        ("reset-check-in", "--reason", "x"),
        ("reset-check-in", "ann", "--id", "1", "--reason", "x"),
        ("reset-check-in", "--id", "0", "--reason", "x"),
        ("reset-check-in", "--id", "1_0", "--reason", "x"),
        ("ruin", "ann"),
    ],
)
def test_invalid_arguments_change_nothing(
    type_in: Type, database_url: str, arguments: tuple[str, ...]
) -> None:
    checked_in_ahead(database_url, "ann")
    with pytest.raises(SystemExit) as refused:
        type_in("users", *arguments)
    assert refused.value.code == 1
    assert len(log_rows(database_url)) == 2


def test_a_committed_command_succeeds_if_closing_fails(
    type_in: Type, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = EventStore.close

    async def fail(store: EventStore) -> None:
        await close(store)
        raise RuntimeError

    checked_in_ahead(database_url, "ann")
    monkeypatch.setattr(EventStore, "close", fail)
    done = type_in("users", "reset-check-in", "ann", "--reason", "x")
    assert (done.status, done.out) == (0, "ann may check in again\n")
