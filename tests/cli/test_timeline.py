"""The command `timeline`."""

import asyncio
import json

import pytest

from tests.cli.conftest import Huajuan
from tests.event_store.helpers import check_in, register
from tests.projections.gallery import append_history, draw_image, projecting


def test_events_are_printed_newest_first(database_url: str, huajuan: Huajuan) -> None:
    async def live() -> None:
        async with projecting(database_url) as (store, _):
            await append_history(store, 2)

    asyncio.run(live())
    said = huajuan(database_url, "timeline", "person1")
    assert said.status == 0
    lines = said.out.splitlines()
    assert [part.strip() for part in lines[-1].split("  ")[-2:]] == [
        "registered as person1 with the e-mail address person1@example.org",
        "以用户名 person1、邮箱 person1@example.org 注册",
    ]
    machines = [
        json.loads(line) for line in huajuan(database_url, "timeline", "person1", "--json").out.splitlines()
    ]
    assert [one["position"] for one in machines] == [int(line.split()[0]) for line in lines]
    assert sorted((one["position"] for one in machines), reverse=True) == [
        one["position"] for one in machines
    ]
    assert len(machines) == 14


def test_an_unknown_account_is_an_error(database_url: str, huajuan: Huajuan) -> None:
    async def live() -> None:
        async with projecting(database_url):
            pass

    asyncio.run(live())
    said = huajuan(database_url, "timeline", "nobody")
    assert (said.status, said.err) == (1, "huajuan: there is no account 'nobody'\n")


def test_a_long_timeline_is_printed_in_parts(database_url: str, huajuan: Huajuan) -> None:
    async def live() -> None:
        async with projecting(database_url) as (store, _):
            account_id = await register(store, "methuselah")
            await check_in(store, account_id)
            for _ in range(28):
                await draw_image(store, account_id, fail=True)

    asyncio.run(live())
    whole = huajuan(database_url, "timeline", "methuselah", "--json").out.splitlines()
    places = [json.loads(line)["position"] for line in whole]
    assert len(places) > 110
    first = huajuan(database_url, "timeline", "methuselah")
    assert [int(line.split()[0]) for line in first.out.splitlines()] == places[:50]
    assert first.err == f"{len(places) - 50} older lines: continue with --after {places[49]}\n"
    told: list[int] = []
    arguments: list[object] = []
    while len(told) < len(places):
        said = huajuan(database_url, "timeline", "methuselah", "--limit", 7, *arguments)
        told += [int(line.split()[0]) for line in said.out.splitlines()]
        arguments = ["--after", told[-1]]
    assert told == places
    assert "older" not in said.err
    few = huajuan(database_url, "timeline", "methuselah", "--json", "--limit", 3)
    assert (few.out.splitlines(), few.err.count(f"--after {places[2]}\n")) == (whole[:3], 1)
    one_before = huajuan(database_url, "timeline", "methuselah", "--limit", len(places) - 1)
    assert one_before.err == f"1 older line: continue with --after {places[-2]}\n"


@pytest.mark.parametrize(
    "arguments", [("--limit", "0"), ("--limit", "-1"), ("--after", "0"), ("--limit", "x")]
)
def test_limit_and_after_are_at_least_1(huajuan: Huajuan, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as refused:
        huajuan("", "timeline", "ann", *arguments)
    assert refused.value.code == 1
