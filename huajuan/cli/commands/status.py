"""`status`: how far the read tables are, who leads them, and what stopped one."""

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from huajuan.audit.connection import reading
from huajuan.cli.command import CannotDo, Verb
from huajuan.cli.database import database_there_is, opened_pool
from huajuan.cli.output import counted_rows
from huajuan.event_store.installation import stream_ids
from huajuan.event_store.schema import SCHEMA_NUMBER, MadeSchema, made_schema
from huajuan.http.projection_status import ProjectionOnWire, RebuildOnWire, projection_on_wire
from huajuan.http.serializers import wire_time
from huajuan.jobs.server_origins import SETTING, VARIABLE, ServerOrigin, find_origins
from huajuan.observability.redaction import dsn_without_secrets
from huajuan.postgres.statements import Statements
from huajuan.projections.engine.metrics import counts
from huajuan.projections.engine.status import serving, statuses
from huajuan.projections.queries.read_tables import ReadTables
from huajuan.projections.registry import PROJECTIONS
from huajuan.server.database import Database
from huajuan.server.server_leases import LiveServer, disagreements, live_servers
from huajuan.settings import Settings

COLUMNS = ("table", "position", "behind", "lag s", "per s", "leader", "state", "rebuild")
NUMBERS = COLUMNS[1:5]
# What is no terminal has no width: the table is made to fit, and the notes below it are not cut off.
PLAIN_WIDTH = 1000
WIDTH_WANTED = 80
# Room for `failed: w…`, and for `…1:20817`, whatever else there is.
LAST_REBUILD_WIDTH_MIN = 10
LEADER_WIDTH_MIN = 9
GONE = "gone"
_LEADER = COLUMNS.index("leader")
_MONTH_AND_DAY = slice(5, 10)


class _Console(Console):
    """Leaves it to the command line what comes of a reader that has left."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class ServerShown(msgspec.Struct):
    """A live server; `program` is the number of the schema that it makes."""

    name: str
    program: int
    started_at: str


class State(msgspec.Struct):
    """All of it, as `--json` prints it; `serving` names the processes that serve this database now.

    `database_url` has `***` instead of a password. `disagreements` names the settings in which live servers differ.
    `inference_servers` are none while the demo one draws.
    """

    database_url: str
    database: str
    serving: list[str]
    schema_number: int
    minimum_program: int
    servers: list[ServerShown]
    disagreements: list[str]
    log_position: int
    projections: list[ProjectionOnWire]
    inference_servers: list[ServerOrigin]


def _words(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for machines")


def _act(settings: Settings, words: Namespace) -> int:
    with database_there_is(settings, as_it_stands=True) as database:
        with reading(database.dsn) as connection:
            made = made_schema(connection)
            if made is None:
                raise CannotDo("nothing was ever served from this database: it lacks the tables")
            # Servers of before the first number have no rows.
            servers = live_servers(connection) if made.number else []
        state = asyncio.run(_look(settings, database, made, servers))
    if words.json:
        sys.stdout.write(msgspec.json.encode(state).decode() + "\n")
    else:
        _show(state)
    return 0


async def _look(settings: Settings, database: Database, made: MadeSchema, servers: list[LiveServer]) -> State:
    async with opened_pool(settings, database.dsn) as pool:
        statements = Statements(pool, settings.log.reconnect_seconds_max)
        tables = ReadTables(statements)
        async with pool.connection() as connection:
            ids = await stream_ids(connection)
        return State(
            database_url=dsn_without_secrets(database.dsn),
            database=database.description,
            serving=await serving(tables),
            schema_number=made.number,
            minimum_program=made.minimum_program,
            servers=[ServerShown(one.name, one.program, wire_time(one.started_at)) for one in servers],
            disagreements=disagreements(servers),
            log_position=(await counts(tables)).log_position,
            projections=[projection_on_wire(one) for one in await statuses(tables, ids, PROJECTIONS)],
            inference_servers=await find_origins(statements, ids.studio(), settings.comfyui_urls),
        )


def _show(state: State) -> None:
    console = _Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console = _Console(file=sys.stdout, highlight=False, width=PLAIN_WIDTH)
    console.print(Text(f"database      {state.database}"))
    console.print(
        Text(f"served by     {', '.join(state.serving) or 'nobody: no server runs on this database'}")
    )
    console.print(Text(f"schema        {_schema(state)}"))
    console.print(Text(f"log position  {state.log_position}"))
    for number, server in enumerate(_inference_servers(state)):
        console.print(Text(f"{'' if number else 'drawn by':14}{server}"))
    console.print()
    console.print(_table(state))
    for note in [*_different(state), *_gone(state), *_notes(state.projections)]:
        console.print(Text(note))


def _inference_servers(state: State) -> list[str]:
    """As far as the environment of this command has the setting that the server was started with."""
    shown = [server.sentence for server in state.inference_servers]
    if any(server.source == SETTING for server in state.inference_servers):
        return shown
    return [f"the demo painter, where the server was started without {VARIABLE} too", *shown]


def _table(state: State) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in NUMBERS else "left", no_wrap=True)
    rows = _fitted([_cells(one, state.serving) for one in state.projections])
    left = max(WIDTH_WANTED - _width(rows), LAST_REBUILD_WIDTH_MIN)
    for one, cells in zip(state.projections, rows, strict=True):
        words = [*cells, _last_rebuild(one, left)]
        table.add_row(*map(Text, words), style="red" if one.stopped_at else None)
    return table


def _width(rows: list[tuple[str, ...]]) -> int:
    """Of all columns but the last, with one blank after each."""
    return sum(max(map(len, column)) + 1 for column in zip(COLUMNS[:-1], *rows, strict=True))


def _fitted(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Leaders lose the beginnings of their names where there is no room for these."""
    widest = max((len(row[_LEADER]) for row in rows), default=0)
    too_much = _width(rows) + LAST_REBUILD_WIDTH_MIN - WIDTH_WANTED
    room = max(widest - max(too_much, 0), LEADER_WIDTH_MIN)
    return [(*row[:_LEADER], _end_of(row[_LEADER], room), *row[_LEADER + 1 :]) for row in rows]


def _end_of(text: str, width: int) -> str:
    return text if len(text) <= width else f"…{text[1 - width :]}"


def _cells(one: ProjectionOnWire, serving: list[str]) -> tuple[str, ...]:
    """All but the last one."""
    return (
        f"{one.name} v{one.version}",
        str(one.position),
        str(one.lag_events),
        f"{one.lag_seconds:.1f}",
        f"{one.events_per_second:.1f}",
        _leader(one.leader, serving),
        _state(one),
    )


def _leader(leader: str | None, serving: list[str]) -> str:
    """Who led last leads still, unless it is gone: then it is named in a note below."""
    if leader is None:
        return "–"
    return leader if leader in serving else GONE


def _state(one: ProjectionOnWire) -> str:
    """Where it stopped, and by what, is in a note below."""
    if one.stopped_at:
        return "stopped"
    return f"rebuilt{_progress(one.last_rebuild)}" if one.rebuilding else "follows"


def _progress(rebuild: RebuildOnWire | None) -> str:
    if rebuild is None or rebuild.position is None or not rebuild.head:
        return ""
    return f" {rebuild.position / rebuild.head:.0%}"


def _last_rebuild(one: ProjectionOnWire, width: int) -> str:
    """With the day, if there is room for it. Differences are told in any case."""
    last = one.last_rebuild
    if last is None:
        return "–"
    differed = _differed(one.name, last.differences)
    ended = (last.outcome or "not ended") + differed
    dated = f"{ended}, {(last.ended_at or last.started_at)[_MONTH_AND_DAY]}"
    if len(dated) <= width:
        return dated
    return ended if differed or len(ended) <= width else f"{ended[: width - 1]}…"


def _differed(table: str, differences: Any) -> str:
    """What the note of a rebuild, which may have been of several tables, says of this one."""
    of_this = [one for one in differences or [] if one["table"] == table]
    if any(one.get("misshapen") for one in of_this):
        return ", other columns"
    rows = sum(one["rows"] for one in of_this)
    return f", {counted_rows(rows)} differed" if rows else ""


def _schema(state: State) -> str:
    note = f" (this program makes {SCHEMA_NUMBER})" if state.schema_number != SCHEMA_NUMBER else ""
    return f"number {state.schema_number}, for programs from number {state.minimum_program} on{note}"


def _different(state: State) -> list[str]:
    names = ", ".join(server.name for server in state.servers)
    return [f"servers disagree on {', '.join(state.disagreements)}: {names}"] if state.disagreements else []


def _gone(state: State) -> list[str]:
    gone = {p.leader: [q.name for q in state.projections if q.leader == p.leader] for p in state.projections}
    return [
        f"{GONE}: {leader}, which led {', '.join(tables)}"
        for leader, tables in gone.items()
        if leader and leader not in state.serving
    ]


def _notes(projections: list[ProjectionOnWire]) -> list[str]:
    stops = [
        f"{p.name} v{p.version} stopped at {p.stopped_at} ({p.stopped_event}): {p.stopped_by}"
        for p in projections
        if p.stopped_at
    ]
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
    return [*stops, *skips, *old]


STATUS = Verb("status", "say how far the read tables are, and what stopped one", _act, _words)
