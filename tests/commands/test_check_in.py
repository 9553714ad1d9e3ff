"""Checking in: once a day of the configured time zone."""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from huajuan.commands.check_in import check_in
from huajuan.domain.refusals import AlreadyCheckedIn, NotRegistered
from tests.commands.people import a_person, account_of
from tests.services import services_on

SHANGHAI, UTC_ZONE = ZoneInfo("Asia/Shanghai"), ZoneInfo("UTC")


async def test_a_day_begins_at_midnight_in_the_zone(database_url: str) -> None:
    async with services_on(database_url) as services:
        ann = await a_person(services)
        services.store.clock = lambda: datetime(2026, 11, 24, 15, 59, tzinfo=UTC)
        await check_in(services.store, ann, SHANGHAI, once_a_day=True)
        with pytest.raises(AlreadyCheckedIn) as refusal:
            await check_in(services.store, ann, SHANGHAI, once_a_day=True)
        assert refusal.value.balance == 100
        services.store.clock = lambda: datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
        decided = await check_in(services.store, ann, SHANGHAI, once_a_day=True)
        assert decided.aggregates[0].balance == 200
        with pytest.raises(AlreadyCheckedIn):
            await check_in(services.store, ann, UTC_ZONE, once_a_day=True)


async def test_without_a_limit_every_check_in_pays(database_url: str) -> None:
    async with services_on(database_url) as services:
        ann = await a_person(services)
        for _ in range(3):
            await check_in(services.store, ann, UTC_ZONE, once_a_day=False)
        assert (await account_of(services, ann)).balance == 300


async def test_one_of_20_concurrent_check_ins_is_paid(database_url: str) -> None:
    async with services_on(database_url) as here, services_on(database_url) as there:
        ann = await a_person(here)
        check_ins = [
            check_in(services.store, ann, UTC_ZONE, once_a_day=True)
            for _ in range(10)
            for services in (here, there)
        ]
        results = await asyncio.gather(*check_ins, return_exceptions=True)
        assert sum(isinstance(r, AlreadyCheckedIn) for r in results) == 19
        assert (await account_of(here, ann)).balance == 100


async def test_a_missing_account_cannot_check_in(database_url: str) -> None:
    async with services_on(database_url) as services:
        with pytest.raises(NotRegistered):
            await check_in(services.store, uuid4(), UTC_ZONE, once_a_day=True)
