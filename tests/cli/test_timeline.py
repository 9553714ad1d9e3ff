"""`huajuan timeline`, as typed."""

import asyncio
import json

import pytest

from tests.cli.conftest import Huajuan
from tests.event_store.studio import check_in, register
from tests.projections.gallery import draw, projecting, some_life


def test_a_life_is_told_newest_first(database_url: str, huajuan: Huajuan) -> None:
    async def live() -> None:
        async with projecting(database_url) as (store, _):
            await some_life(store, 2)

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


def test_nobody(database_url: str, huajuan: Huajuan) -> None:
    async def live() -> None:
        async with projecting(database_url):
            pass

    asyncio.run(live())
    said = huajuan(database_url, "timeline", "nobody")
    assert (said.status, said.err) == (1, "huajuan: there is no account 'nobody'\n")


def test_a_long_life_is_told_in_parts(database_url: str, huajuan: Huajuan) -> None:
    async def live() -> None:
        async with projecting(database_url) as (store, _):
            account_id = await register(store, "methuselah")
            await check_in(store, account_id)
            for _ in range(28):
                await draw(store, account_id, fail=True)

    asyncio.run(live())
    whole = huajuan(database_url, "timeline", "methuselah", "--json").out.splitlines()
    places = [json.loads(line)["position"] for line in whole]
    assert len(places) > 110
    first = huajuan(database_url, "timeline", "methuselah")
    assert [int(line.split()[0]) for line in first.out.splitlines()] == places[:50]
    assert first.err == f"{len(places) - 50} older lines: go on with --after {places[49]}\n"
    told: list[int] = []
    words: list[object] = []
    while len(told) < len(places):
        said = huajuan(database_url, "timeline", "methuselah", "--limit", 7, *words)
        told += [int(line.split()[0]) for line in said.out.splitlines()]
        words = ["--after", told[-1]]
    assert told == places
    assert "older" not in said.err
    few = huajuan(database_url, "timeline", "methuselah", "--json", "--limit", 3)
    assert (few.out.splitlines(), few.err.count(f"--after {places[2]}\n")) == (whole[:3], 1)
    one_before = huajuan(database_url, "timeline", "methuselah", "--limit", len(places) - 1)
    assert one_before.err == f"1 older line: go on with --after {places[-2]}\n"


@pytest.mark.parametrize("words", [("--limit", "0"), ("--limit", "-1"), ("--after", "0"), ("--limit", "x")])
def test_bounds_are_numbers_from_1(huajuan: Huajuan, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as refused:
        huajuan("", "timeline", "ann", *words)
    assert refused.value.code == 1
