"""The acts of admins on the service are recorded with actor and reason."""

import asyncio

from huajuan.commands.operations import request_rebuild, skip_event
from huajuan.domain.read_table import ReadTable
from huajuan.domain.refusals import AlreadySkipped
from huajuan.event_store.request_context import with_request_context
from huajuan.projections.users import USERS
from tests.event_store.helpers import log_rows, opened, register


async def test_an_act_is_recorded_with_actor_and_reason(database_url: str) -> None:
    async with opened(database_url) as store:
        ann = await register(store, "ann")
        with with_request_context(actor=ann, correlation_id="request-1"):
            await request_rebuild(store, "history_v1", "a fold was repaired")
            await skip_event(store, "history_v1", 7, "image.drawn", "its file is lost")
    recorded = log_rows(database_url, "topic, convert_from(state, 'UTF8')::jsonb")[1:]
    assert [(topic, state["actor"], state.get("reason")) for topic, state in recorded] == [
        ("read_table.named", str(ann), None),
        ("read_table.rebuild_asked", str(ann), "a fold was repaired"),
        ("read_table.event_skipped", str(ann), "its file is lost"),
    ]
    assert {state["projection"] for _, state in recorded} == {"history_v1"}
    assert (recorded[2][1]["position"], recorded[2][1]["topic"]) == (7, "image.drawn")


async def test_one_of_8_concurrent_skips_succeeds(database_url: str) -> None:
    async with opened(database_url) as here, opened(database_url) as there:
        skips = [skip_event(s, USERS.schema, 7, "x.y", "why") for _ in range(4) for s in (here, there)]
        results = await asyncio.gather(*skips, return_exceptions=True)
        assert sum(isinstance(result, AlreadySkipped) for result in results) == 7
        table = await here.find(ReadTable, here.stream_ids.read_table(USERS.schema))
        assert table
        assert table.skipped == {7}
