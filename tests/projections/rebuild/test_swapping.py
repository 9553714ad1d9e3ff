"""The swap waits for nobody for long, and leaves no moment in which a leader could write to the old table."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
import pytest

from huajuan.projections.engine.table import Table
from huajuan.projections.history import HISTORY
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.rebuild import swap as swapping
from huajuan.projections.rebuild.connections import connection
from huajuan.projections.rebuild.errors import NeverLetGo
from huajuan.projections.rebuild.index import index
from huajuan.projections.rebuild.limits import RebuildLimits
from huajuan.projections.rebuild.new_tables import NewTables
from huajuan.projections.rebuild.records import Note
from huajuan.projections.rebuild.row_cache import Writing
from huajuan.projections.rebuild.swap import Held, Live, swap
from huajuan.projections.registry import PROJECTIONS
from huajuan.projections.users import USERS
from tests.projections.gallery import SECONDS_MAX, all_tables, projecting, some_life
from tests.projections.rebuild.test_rebuild import LIVE, lived, notes, rebuilt, schemas

_LEAD = "SELECT position FROM operations.checkpoints WHERE projection = %s FOR UPDATE"
_MAY_LEAD = "SELECT projection, position FROM operations.checkpoints FOR UPDATE SKIP LOCKED"
SHORT = RebuildLimits(swap_wait_seconds_max=0.05, swap_pause_seconds=0.05, swap_tries_max=4)


@asynccontextmanager
async def leading(dsn: str, schema: str) -> AsyncIterator[psycopg.AsyncConnection]:
    """Waits in line with a runner of this loop, which has to be able to go on meanwhile."""
    async with await psycopg.AsyncConnection.connect(dsn) as leader:
        await leader.execute(_LEAD, (schema,))
        yield leader


def unmoved(live: Mapping[str, Live]) -> Mapping[str, int]:
    return {schema: stood.position for schema, stood in live.items()}


async def test_a_hung_leader_ends_the_rebuild_and_holds_up_no_other_table(database_url: str) -> None:
    await lived(database_url)
    before = all_tables(database_url)
    async with leading(database_url, USERS.schema):
        with pytest.raises(NeverLetGo, match="held too long"):
            await rebuilt(database_url, limits=SHORT)
    assert all_tables(database_url) == before
    assert schemas(database_url) == LIVE
    ((outcome,),) = notes(database_url)
    assert outcome.startswith("failed: a live table was held too long")


def test_long_work_is_done_with_our_own_priority(database_url: str) -> None:
    with connection(database_url) as usual, connection(database_url, gently=True) as gentle:
        theirs = [os.getpriority(os.PRIO_PROCESS, c.info.backend_pid) for c in (usual, gentle)]
        assert theirs == [0, os.getpriority(os.PRIO_PROCESS, 0)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "getpriority", lambda *_: 7)
            with connection(database_url, gently=True) as nice:
                patch.undo()
                assert os.getpriority(os.PRIO_PROCESS, nice.info.backend_pid) == 7


async def test_between_two_tries_the_other_tables_go_on(database_url: str) -> None:
    await lived(database_url)
    async with leading(database_url, USERS.schema):
        with connection(database_url) as one, connection(database_url) as two:
            with pytest.raises(Held):
                swap(one, two, (HISTORY, USERS), SHORT, Note(two, (HISTORY, USERS), 0), unmoved)
            with psycopg.connect(database_url) as other:
                found = {schema for schema, _ in other.execute(_MAY_LEAD)}
    assert HISTORY.schema in found


async def test_a_leader_who_lets_go_late_is_waited_for(database_url: str) -> None:
    async with projecting(database_url) as (store, projector):
        position = await some_life(store)
        await projector.reach(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
        async with leading(database_url, USERS.schema) as leader:
            rebuilding = asyncio.create_task(
                rebuilt(database_url, limits=RebuildLimits(swap_tries_max=10_000))
            )
            position = await some_life(store, 1, "meanwhile")
            others = [p for p in PROJECTIONS if p is not USERS]
            assert await projector.reach(position, *others, seconds_max=SECONDS_MAX)
            await asyncio.sleep(1)
            assert not rebuilding.done()
            await leader.rollback()
            report = await rebuilding
        assert report.differences == []
        assert await projector.reach(position, *PROJECTIONS, seconds_max=SECONDS_MAX)


async def test_nobody_leads_before_every_session_knows_the_new_names(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the commit of the new names and the end of the swap the rows have moved and are still held."""
    await lived(database_url)
    seen: list[Any] = []

    @contextmanager
    def watched(first: Any) -> Iterator[None]:
        with first.real_transaction():
            yield
        with psycopg.connect(database_url) as leader:
            seen.append(leader.execute(_MAY_LEAD).fetchall())
            seen.append(
                leader.execute(
                    "SELECT min(moved_at) > now() - interval '1 minute' FROM operations.checkpoints"
                ).fetchone()
            )

    class First(psycopg.Connection):
        """Looks, in the instant after its commit, who could lead."""

        real_transaction = psycopg.Connection.transaction

        def transaction(self, *_: Any, **__: Any) -> Any:
            return watched(self)

    monkeypatch.setattr(swapping, "_rename", lambda *_, **__: None)
    with First.connect(database_url, autocommit=True) as one, connection(database_url) as two:
        swap(one, two, PROJECTIONS, SHORT, Note(two, PROJECTIONS, 0), unmoved)
    assert seen == [[], (True,)]
    with psycopg.connect(database_url) as leader:
        assert len(leader.execute(_MAY_LEAD).fetchall()) == len(PROJECTIONS)


async def test_what_came_in_during_the_rebuild_is_written_before_the_live_tables_wait(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    held: list[int] = []

    async with projecting(database_url) as (store, projector):
        loop = asyncio.get_running_loop()

        async def more_life() -> None:
            position = await some_life(store, 4, "meanwhile")
            assert await projector.reach(position, *PROJECTIONS, seconds_max=SECONDS_MAX)

        def indexed(*words: Any) -> None:
            asyncio.run_coroutine_threadsafe(more_life(), loop).result(SECONDS_MAX)
            index(*words)

        def write(tables: NewTables, table: Table[Any], writing: Writing) -> None:
            written.append(len(writing.new) + len(writing.changed) + len(writing.gone))
            real_write(tables, table, writing)

        def lock(*words: Any) -> dict[str, Live]:
            held.append(len(written))
            return real_lock(*words)

        real_write, real_lock = NewTables._write, swapping._lock
        monkeypatch.setattr("huajuan.projections.rebuild.rebuild.index", indexed)
        monkeypatch.setattr(NewTables, "_write", write)
        monkeypatch.setattr(swapping, "_lock", lock)
        await some_life(store)
        report = await rebuilt(database_url, limits=RebuildLimits(last_step_events_max=0))
    assert report.differences == []
    assert sum(written[held[-1] :]) == 0


async def test_a_table_that_goes_on_while_it_is_rebuilt_is_not_compared_at_another_position(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with projecting(database_url, (POINT_BALANCES,)) as (store, projector):
        position = await some_life(store, 2)
        await projector.reach(position, POINT_BALANCES, seconds_max=SECONDS_MAX)
    with psycopg.connect(database_url, autocommit=True) as live:
        live.execute("UPDATE operations.checkpoints SET position = 3, stopped_at = 4")
        went_on = "UPDATE operations.checkpoints SET position = 5, stopped_at = NULL"

        def lock(*words: Any) -> dict[str, Live]:
            live.execute(went_on.encode())
            return real(*words)

        real = swapping._lock
        monkeypatch.setattr(swapping, "_lock", lock)
        report = await rebuilt(database_url, (POINT_BALANCES,))
    assert (report.compared, report.differences, report.position) == ([], [], position)
