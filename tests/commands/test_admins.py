"""The admin role and what admins do, each on record with who and why."""

import asyncio
from uuid import UUID, uuid4

import pytest

from huajuan.commands.ask_for_rebuild import ask_for_rebuild
from huajuan.commands.grant_admin import grant_admin
from huajuan.commands.revoke_admin import revoke_admin
from huajuan.commands.skip_event import skip_event
from huajuan.domain.admin import Admin
from huajuan.domain.read_table import ReadTable
from huajuan.domain.refusals import AlreadyAdmin, AlreadySkipped, NotAdmin, NotRegistered
from huajuan.event_store.request_context import calling
from huajuan.event_store.store import EventStore
from tests.event_store.studio import log_rows, opened, register


async def is_admin(store: EventStore, account_id: UUID) -> bool:
    admin = await store.find(Admin, store.stream_ids.admin(account_id))
    return admin is not None and admin.stands


async def test_who_is_not_registered_gets_no_role(database_url: str) -> None:
    async with opened(database_url) as store:
        for command in (grant_admin, revoke_admin):
            with pytest.raises(NotRegistered):
                await command(store, uuid4(), "why not")
    assert log_rows(database_url) == []


async def test_16_grants_at_once_make_one_admin(database_url: str) -> None:
    async with opened(database_url) as here, opened(database_url) as there:
        ann = await register(here, "ann")
        grants = [grant_admin(store, ann, "runs it") for _ in range(8) for store in (here, there)]
        results = await asyncio.gather(*grants, return_exceptions=True)
        assert sum(isinstance(result, AlreadyAdmin) for result in results) == 15
        assert await is_admin(here, ann)


async def test_a_role_that_is_revoked_elsewhere_is_gone_here(database_url: str) -> None:
    async with opened(database_url) as here, opened(database_url) as there:
        ann = await register(here, "ann")
        with pytest.raises(NotAdmin):
            await revoke_admin(there, ann, "never was")
        await grant_admin(here, ann, "runs it")
        assert await is_admin(here, ann)
        await revoke_admin(there, ann, "on leave")
        assert not await is_admin(here, ann)
        await grant_admin(here, ann, "is back")
        assert await is_admin(there, ann)


async def test_one_persons_role_is_not_anothers(database_url: str) -> None:
    async with opened(database_url) as store:
        ann, ben = await register(store, "ann"), await register(store, "ben")
        await grant_admin(store, ann, "runs it")
        assert not await is_admin(store, ben)


async def test_an_act_is_on_record_with_actor_and_reason(database_url: str) -> None:
    async with opened(database_url) as store:
        ann = await register(store, "ann")
        with calling(actor=ann, correlation_id="request-1"):
            await ask_for_rebuild(store, "history_v1", "a fold was mended")
            await skip_event(store, "history_v1", 7, "image.drawn", "its file is lost")
    told = log_rows(database_url, "topic, convert_from(state, 'UTF8')::jsonb")[1:]
    assert [(topic, state["actor"], state.get("reason")) for topic, state in told] == [
        ("read_table.named", str(ann), None),
        ("read_table.rebuild_asked", str(ann), "a fold was mended"),
        ("read_table.event_skipped", str(ann), "its file is lost"),
    ]
    assert {state["projection"] for _, state in told} == {"history_v1"}
    assert (told[2][1]["position"], told[2][1]["topic"]) == (7, "image.drawn")


async def test_8_skips_of_one_event_at_once_are_one(database_url: str) -> None:
    async with opened(database_url) as here, opened(database_url) as there:
        skips = [skip_event(s, "users_v1", 7, "x.y", "why") for _ in range(4) for s in (here, there)]
        results = await asyncio.gather(*skips, return_exceptions=True)
        assert sum(isinstance(result, AlreadySkipped) for result in results) == 7
        table = await here.find(ReadTable, here.stream_ids.read_table("users_v1"))
        assert table
        assert table.skipped == {7}
