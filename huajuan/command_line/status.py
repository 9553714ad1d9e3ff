"""`status`: how far the read tables are, who leads them, and what stopped one."""

import asyncio
import sys
from argparse import ArgumentParser, Namespace

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from huajuan.command_line.opening import database_there_is, opened_pool
from huajuan.command_line.verb import Verb
from huajuan.database import Database
from huajuan.event_store.installation import stream_ids
from huajuan.event_store.statements import Statements
from huajuan.http.projections import ProjectionOnWire, RebuildOnWire, projection_on_wire
from huajuan.projections.measures import counts
from huajuan.projections.questions import ReadTables
from huajuan.projections.registry import PROJECTIONS
from huajuan.projections.status import serving, statuses
from huajuan.settings import Settings

COLUMNS = ("table", "position", "behind", "lag s", "events/s", "leader", "state", "last rebuild")
NUMBERS = COLUMNS[1:5]
# What is no terminal has no width: nothing is cut off.
PLAIN_WIDTH = 1000


class State(msgspec.Struct):
    """All of it, as `--json` prints it; `serving` names the processes that serve this database now."""

    database_url: str
    database: str
    serving: list[str]
    log_position: int
    projections: list[ProjectionOnWire]


def _words(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="for machines; has database_url, password and all"
    )


def _act(settings: Settings, words: Namespace) -> int:
    with database_there_is(settings) as database:
        state = asyncio.run(_look(settings, database))
    if words.json:
        sys.stdout.write(msgspec.json.encode(state).decode() + "\n")
    else:
        _show(state)
    return 0


async def _look(settings: Settings, database: Database) -> State:
    async with opened_pool(settings, database.dsn) as pool:
        tables = ReadTables(Statements(pool, settings.log.reconnect_seconds_max))
        async with pool.connection() as connection:
            ids = await stream_ids(connection)
        return State(
            database_url=database.dsn,
            database=database.description,
            serving=await serving(tables),
            log_position=(await counts(tables)).log_position,
            projections=[projection_on_wire(one) for one in await statuses(tables, ids, PROJECTIONS)],
        )


def _show(state: State) -> None:
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console = Console(file=sys.stdout, highlight=False, width=PLAIN_WIDTH)
    console.print(Text(f"database      {state.database}"))
    console.print(
        Text(f"served by     {', '.join(state.serving) or 'nobody: no server runs on this database'}")
    )
    console.print(Text(f"log position  {state.log_position}\n"))
    console.print(_table(state))
    for note in _notes(state.projections):
        console.print(Text(note))


def _table(state: State) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in NUMBERS else "left")
    for one in state.projections:
        table.add_row(*_cells(one, state.serving), style="red" if one.stopped_at else None)
    return table


def _cells(one: ProjectionOnWire, serving: list[str]) -> list[Text]:
    words = (
        f"{one.name} v{one.version}",
        str(one.position),
        str(one.lag_events),
        f"{one.lag_seconds:.1f}",
        f"{one.events_per_second:.1f}",
        _leader(one.leader, serving),
        _state(one),
        _last_rebuild(one),
    )
    return [Text(word) for word in words]


def _leader(leader: str | None, serving: list[str]) -> str:
    """Who led last leads still, unless it is gone."""
    if leader is None:
        return "–"
    return leader if leader in serving else f"{leader} (gone)"


def _state(one: ProjectionOnWire) -> str:
    if one.stopped_at:
        return f"stopped at {one.stopped_at} ({one.stopped_event}): {one.stopped_by}"
    return f"being rebuilt{_progress(one.last_rebuild)}" if one.rebuilding else "follows"


def _progress(rebuild: RebuildOnWire | None) -> str:
    if rebuild is None or rebuild.position is None or not rebuild.head:
        return ""
    return f", {rebuild.position / rebuild.head:.0%}"


def _last_rebuild(one: ProjectionOnWire) -> str:
    last = one.last_rebuild
    return f"{last.outcome or 'not ended'}, {last.ended_at or last.started_at}" if last else "–"


def _notes(projections: list[ProjectionOnWire]) -> list[str]:
    skips = [
        f"{p.name} v{p.version} leaves out {s.position} ({s.event}): {s.reason}"
        for p in projections
        for s in p.skips
    ]
    old = [
        f"{p.name} v{p.version} ignores skips made for an older version: {', '.join(map(str, p.ignored_skips))}"
        for p in projections
        if p.ignored_skips
    ]
    return [*skips, *old]


STATUS = Verb("status", "say how far the read tables are, and what stopped one", _act, _words)
