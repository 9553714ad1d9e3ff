"""`huajuan timeline`, as typed."""

import asyncio
import json

from tests.command_line.conftest import Huajuan
from tests.projections.gallery import projecting, some_life


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
