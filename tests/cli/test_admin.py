"""`admin`: grants and revokes the role; each error is one line."""

import asyncio

import pytest

from tests.cli.conftest import Type
from tests.event_store.helpers import log_rows, opened, register


def registered(dsn: str, name: str) -> None:
    async def one() -> None:
        async with opened(dsn) as store:
            await register(store, name)

    asyncio.run(one())


def test_the_role_is_granted_revoked_and_granted_again(type_in: Type, database_url: str) -> None:
    registered(database_url, "安妮")
    assert type_in("admin", "grant", "安妮", "--reason", "runs it") == (0, "安妮 is an admin now\n", "")
    assert type_in("admin", "revoke", "安妮") == (0, "安妮 is no admin any more\n", "")
    assert type_in("admin", "grant", "安妮").status == 0
    told = type_in("timeline", "安妮").out
    reasons = ["on the command line", "on the command line", "runs it"]
    assert [line.rpartition("：")[2] for line in told.splitlines() if "admin" in line] == reasons
    actors = "convert_from(state, 'UTF8')::jsonb->>'actor'"
    assert log_rows(database_url, actors)[1:] == [(None,)] * 3


@pytest.mark.parametrize("act", ["grant", "revoke"])
def test_an_unknown_name_is_one_line(type_in: Type, act: str) -> None:
    assert type_in("admin", act, "nobody") == (1, "", "huajuan: there is no account nobody\n")


def test_a_role_without_a_change_is_one_line(type_in: Type, database_url: str) -> None:
    registered(database_url, "ann")
    assert type_in("admin", "revoke", "ann") == (1, "", "huajuan: ann is not an admin\n")
    type_in("admin", "grant", "ann")
    assert type_in("admin", "grant", "ann") == (1, "", "huajuan: ann is already an admin\n")


@pytest.mark.parametrize("reason", ["", "  ", "a\nb", "\x1b[2J"])
@pytest.mark.parametrize("act", [("admin", "grant", "ann"), ("admin", "revoke", "ann"), ("rebuild", "likes")])
def test_an_empty_reason_is_rejected(
    type_in: Type, database_url: str, act: tuple[str, ...], reason: str
) -> None:
    registered(database_url, "ann")
    line = "huajuan: a reason is one line of up to 500 characters\n"
    assert type_in(*act, f"--reason={reason}") == (1, "", line)
    assert [topic for (topic,) in log_rows(database_url, "topic")] == ["account.registered"]


@pytest.mark.parametrize("act", [("admin", "grant", "ann"), ("admin", "revoke", "ann"), ("rebuild", "likes")])
def test_a_too_long_reason_has_its_own_message(
    type_in: Type, database_url: str, act: tuple[str, ...]
) -> None:
    registered(database_url, "ann")
    line = "huajuan: the reason is too long: 501 characters, and the maximum is 500\n"
    assert type_in(*act, f"--reason={'x' * 501}") == (1, "", line)


def test_invalid_arguments_print_the_usage(type_in: Type, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        type_in("admin", "promote", "ann")
    assert refused.value.code == 1, "status 2 means that a comparison found a difference"
    assert "choose from" in capsys.readouterr().err
