"""The swap locks live tables only briefly, and no runner can write to an old table afterwards."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from huajuan.projections.engine.checkpoints import Checkpoint
from huajuan.projections.engine.table import Table
from huajuan.projections.history import HISTORY
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.rebuild import swap as swapping
from huajuan.projections.rebuild.new_tables import NewTables, RowChanges, create_indexes
from huajuan.projections.rebuild.session import RebuildLimits, RebuildRecord, SwapTimeout, connection
from huajuan.projections.rebuild.swap import LockTimeout, swap_tables
from huajuan.projections.registry import PROJECTIONS
from huajuan.projections.users import USERS
from tests.projections.gallery import SECONDS_MAX, append_history, projecting, read_all_tables
from tests.projections.rebuild.test_rebuild import LIVE, outcomes, populate, run_rebuild, schemas

_LOCK = "SELECT position FROM operations.checkpoints WHERE projection = %s FOR UPDATE"
_FREE = "SELECT projection, position FROM operations.checkpoints FOR UPDATE SKIP LOCKED"
SHORT = RebuildLimits(swap_wait_seconds_max=0.05, swap_pause_seconds=0.05, swap_tries_max=4)


@asynccontextmanager
async def locking_checkpoint(dsn: str, schema: str) -> AsyncIterator[psycopg.AsyncConnection]:
    """Without blocking the event loop, on which a runner may hold the lock."""
    async with await psycopg.AsyncConnection.connect(dsn) as leader:
        await leader.execute(_LOCK, (schema,))
        yield leader


def keep_positions(live: Mapping[str, Checkpoint]) -> Mapping[str, int]:
    return {schema: table.position for schema, table in live.items()}


async def test_a_locked_checkpoint_ends_the_rebuild(database_url: str) -> None:
    await populate(database_url)
    before = read_all_tables(database_url)
    async with locking_checkpoint(database_url, USERS.schema):
        with pytest.raises(SwapTimeout, match="for too long"):
            await run_rebuild(database_url, limits=SHORT)
    assert read_all_tables(database_url) == before
    assert schemas(database_url) == LIVE
    ((outcome,),) = outcomes(database_url)
    assert outcome.startswith("failed: the swap gave up")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_long_work_has_the_priority_of_this_process(database_url: str) -> None:
    with connection(database_url) as usual, connection(database_url, niced=True) as niced:
        postmaster = os.getpriority(os.PRIO_PROCESS, parent_of(usual.info.backend_pid))
        priorities = [os.getpriority(os.PRIO_PROCESS, c.info.backend_pid) for c in (usual, niced)]
        assert priorities == [postmaster, os.getpriority(os.PRIO_PROCESS, 0)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "getpriority", lambda *_: 17)
            with connection(database_url, niced=True) as nicer:
                patch.undo()
                assert os.getpriority(os.PRIO_PROCESS, nicer.info.backend_pid) == 17


async def test_between_two_tries_the_other_checkpoints_are_free(database_url: str) -> None:
    await populate(database_url)
    async with locking_checkpoint(database_url, USERS.schema):
        with connection(database_url) as one, connection(database_url) as two:
            with pytest.raises(LockTimeout):
                swap_tables(
                    one, two, (HISTORY, USERS), SHORT, RebuildRecord(two, (HISTORY, USERS)), keep_positions
                )
            with psycopg.connect(database_url) as other:
                found = {schema for schema, _ in other.execute(_FREE)}
    assert HISTORY.schema in found


async def test_a_checkpoint_that_is_unlocked_late_is_waited_for(database_url: str) -> None:
    async with projecting(database_url) as (store, projector):
        position = await append_history(store)
        await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)
        async with locking_checkpoint(database_url, USERS.schema) as leader:
            rebuilding = asyncio.create_task(
                run_rebuild(database_url, limits=RebuildLimits(swap_tries_max=10_000))
            )
            position = await append_history(store, 1, "meanwhile")
            others = [p for p in PROJECTIONS if p is not USERS]
            assert await projector.wait_for_position(position, *others, seconds_max=SECONDS_MAX)
            await asyncio.sleep(1)
            assert not rebuilding.done()
            await leader.rollback()
            report = await rebuilding
        assert report.differences == []
        assert await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)


async def test_no_checkpoint_is_free_before_all_sessions_see_the_new_names(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the commit of the new names and the end of the swap the checkpoints are still locked."""
    await populate(database_url)
    seen: list[Any] = []

    @contextmanager
    def watched(first: Any) -> Iterator[None]:
        with first.real_transaction():
            yield
        with psycopg.connect(database_url) as leader:
            seen.append(leader.execute(_FREE).fetchall())
            seen.append(
                leader.execute(
                    "SELECT min(moved_at) > now() - interval '1 minute' FROM operations.checkpoints"
                ).fetchone()
            )

    class First(psycopg.Connection):
        """Reads the free checkpoints just after its commit."""

        real_transaction = psycopg.Connection.transaction

        def transaction(self, *_: Any, **__: Any) -> Any:
            return watched(self)

    monkeypatch.setattr(swapping, "_rename", lambda *_, **__: None)
    with First.connect(database_url, autocommit=True) as one, connection(database_url) as two:
        swap_tables(one, two, PROJECTIONS, SHORT, RebuildRecord(two, PROJECTIONS), keep_positions)
    assert seen == [[], (True,)]
    with psycopg.connect(database_url) as leader:
        assert len(leader.execute(_FREE).fetchall()) == len(PROJECTIONS)


async def test_new_events_are_written_before_the_live_tables_are_locked(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    held: list[int] = []

    async with projecting(database_url) as (store, projector):
        loop = asyncio.get_running_loop()

        async def more_life() -> None:
            position = await append_history(store, 4, "meanwhile")
            assert await projector.wait_for_position(position, *PROJECTIONS, seconds_max=SECONDS_MAX)

        def indexed(*words: Any) -> None:
            asyncio.run_coroutine_threadsafe(more_life(), loop).result(SECONDS_MAX)
            create_indexes(*words)

        def write(tables: NewTables, table: Table[Any], changes: RowChanges) -> None:
            written.append(len(changes.new) + len(changes.changed) + len(changes.deleted))
            real_write(tables, table, changes)

        def lock(*words: Any) -> dict[str, Checkpoint]:
            held.append(len(written))
            return real_lock(*words)

        real_write, real_lock = NewTables._write, swapping._lock
        monkeypatch.setattr("huajuan.projections.rebuild.rebuild.create_indexes", indexed)
        monkeypatch.setattr(NewTables, "_write", write)
        monkeypatch.setattr(swapping, "_lock", lock)
        await append_history(store)
        report = await run_rebuild(database_url, limits=RebuildLimits(last_step_events_max=0))
    assert report.differences == []
    assert sum(written[held[-1] :]) == 0


async def test_tables_at_different_positions_are_not_compared(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with projecting(database_url, (POINT_BALANCES,)) as (store, projector):
        position = await append_history(store, 2)
        await projector.wait_for_position(position, POINT_BALANCES, seconds_max=SECONDS_MAX)
    with psycopg.connect(database_url, autocommit=True) as live:
        live.execute("UPDATE operations.checkpoints SET position = 3, stopped_at = 4")
        went_on = "UPDATE operations.checkpoints SET position = 5, stopped_at = NULL"

        def lock(*words: Any) -> dict[str, Checkpoint]:
            live.execute(went_on.encode())
            return real(*words)

        real = swapping._lock
        monkeypatch.setattr(swapping, "_lock", lock)
        report = await run_rebuild(database_url, (POINT_BALANCES,))
    assert (report.compared, report.differences, report.position) == ([], [], position)
