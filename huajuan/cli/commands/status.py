"""`status`: prints the servers, and the position, runner and errors of each read table."""

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from huajuan.audit.connection import open_read_only
from huajuan.cli.command import CliCommand, CommandError
from huajuan.cli.database import connect_pool, existing_database
from huajuan.cli.output import counted_rows
from huajuan.event_store.schema import SCHEMA_NUMBER, InstalledSchema, installed_schema
from huajuan.event_store.stream_ids import load_stream_ids
from huajuan.http.serializers import ProjectionOnWire, RebuildOnWire, projection_on_wire, wire_time
from huajuan.jobs.server_origins import SETTING, VARIABLE, ServerOrigin, find_origins
from huajuan.observability.redaction import dsn_without_secrets
from huajuan.postgres.statements import Statements
from huajuan.projections.engine.status import log_counts, projection_statuses, serving_processes
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.registry import PROJECTIONS
from huajuan.server.database import Database
from huajuan.server.server_leases import LiveServer, disagreements, live_servers
from huajuan.settings import Settings

COLUMNS = ("table", "position", "behind", "lag s", "per s", "leader", "state", "rebuild")
NUMBERS = COLUMNS[1:5]
# Without a terminal there is no width, so lines are not cut off.
PLAIN_WIDTH = 1000
WIDTH_WANTED = 80
# Minimum widths that fit `failed: w…`, and `…1:20817`.
LAST_REBUILD_WIDTH_MIN = 10
LEADER_WIDTH_MIN = 9
GONE = "gone"
_LEADER = COLUMNS.index("leader")
_MONTH_AND_DAY = slice(5, 10)


class _Console(Console):
    """Passes a broken pipe on to the command line."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class ServerShown(msgspec.Struct):
    """A live server; `program` is the number of the schema that its program creates."""

    name: str
    program: int
    started_at: str


class ServiceStatus(msgspec.Struct):
    """The output of `--json`; `serving` has the processes that use this database now.

    `database_url` has `***` instead of a password. `disagreements` has the settings in which live servers
    differ. `inference_servers` is empty if only the demo ComfyUI is used.
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


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(settings: Settings, arguments: Namespace) -> int:
    with existing_database(settings, build_tables=False) as database:
        with open_read_only(database.dsn) as connection:
            made = installed_schema(connection)
            if made is None:
                raise CommandError("no server was ever started on this database: it has no tables")
            # Programs without a schema number have no leases.
            servers = live_servers(connection) if made.number else []
        state = asyncio.run(_read_status(settings, database, made, servers))
    if arguments.json:
        sys.stdout.write(msgspec.json.encode(state).decode() + "\n")
    else:
        _print(state)
    return 0


async def _read_status(
    settings: Settings, database: Database, made: InstalledSchema, servers: list[LiveServer]
) -> ServiceStatus:
    async with connect_pool(settings, database.dsn) as pool:
        statements = Statements(pool, settings.log_reconnect_seconds_max)
        tables = ReadTables(statements)
        async with pool.connection() as connection:
            ids = await load_stream_ids(connection)
        return ServiceStatus(
            database_url=dsn_without_secrets(database.dsn),
            database=database.description,
            serving=await serving_processes(tables),
            schema_number=made.number,
            minimum_program=made.minimum_program,
            servers=[ServerShown(s.name, s.program, wire_time(s.started_at)) for s in servers],
            disagreements=disagreements(servers),
            log_position=(await log_counts(tables)).log_position,
            projections=[projection_on_wire(s) for s in await projection_statuses(tables, ids, PROJECTIONS)],
            inference_servers=await find_origins(statements, ids.studio(), settings.comfyui_urls),
        )


def _print(state: ServiceStatus) -> None:
    console = _Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console = _Console(file=sys.stdout, highlight=False, width=PLAIN_WIDTH)
    console.print(Text(f"database      {state.database}"))
    console.print(Text(f"served by     {', '.join(state.serving) or 'no server'}"))
    console.print(Text(f"schema        {_schema(state)}"))
    console.print(Text(f"log position  {state.log_position}"))
    for number, server in enumerate(_inference_servers(state)):
        console.print(Text(f"{'' if number else 'drawn by':14}{server}"))
    console.print()
    console.print(_table(state))
    for message in [*_disagreements(state), *_gone(state), *_messages(state.projections)]:
        console.print(Text(message))


def _inference_servers(state: ServiceStatus) -> list[str]:
    """Correct if this command has the same setting in its environment as the server."""
    shown = [server.sentence for server in state.inference_servers]
    if any(server.source == SETTING for server in state.inference_servers):
        return shown
    return [f"the demo ComfyUI, if the server was started without {VARIABLE} too", *shown]


def _table(state: ServiceStatus) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in NUMBERS else "left", no_wrap=True)
    rows = _fitted([_cells(one, state.serving) for one in state.projections])
    left = max(WIDTH_WANTED - _width(rows), LAST_REBUILD_WIDTH_MIN)
    for one, cells in zip(state.projections, rows, strict=True):
        row = [*cells, _last_rebuild(one, left)]
        table.add_row(*map(Text, row), style="red" if one.stopped_at else None)
    return table


def _width(rows: list[tuple[str, ...]]) -> int:
    """The width of all columns but the last, with one blank after each."""
    return sum(max(map(len, column)) + 1 for column in zip(COLUMNS[:-1], *rows, strict=True))


def _fitted(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Shortens the names in the `leader` column from the left if the table is too wide."""
    widest = max((len(row[_LEADER]) for row in rows), default=0)
    too_much = _width(rows) + LAST_REBUILD_WIDTH_MIN - WIDTH_WANTED
    width = max(widest - max(too_much, 0), LEADER_WIDTH_MIN)
    return [(*row[:_LEADER], _end_of(row[_LEADER], width), *row[_LEADER + 1 :]) for row in rows]


def _end_of(text: str, width: int) -> str:
    return text if len(text) <= width else f"…{text[1 - width :]}"


def _cells(one: ProjectionOnWire, serving: list[str]) -> tuple[str, ...]:
    """All cells but the last one."""
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
    """The process that runs the projection; one that is gone is named in a message below."""
    if leader is None:
        return "–"
    return leader if leader in serving else GONE


def _state(one: ProjectionOnWire) -> str:
    """The position and the error of a stop are in a message below."""
    if one.stopped_at:
        return "stopped"
    return f"rebuilt{_progress(one.last_rebuild)}" if one.rebuilding else "follows"


def _progress(rebuild: RebuildOnWire | None) -> str:
    if rebuild is None or rebuild.position is None or not rebuild.head:
        return ""
    return f" {rebuild.position / rebuild.head:.0%}"


def _last_rebuild(one: ProjectionOnWire, width: int) -> str:
    """The outcome with the day, if there is room for it. Differences are always shown."""
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
    """The differences of this table; a rebuild may be of several tables."""
    of_this = [one for one in differences or [] if one["table"] == table]
    if any(one.get("misshapen") for one in of_this):
        return ", other columns"
    rows = sum(one["rows"] for one in of_this)
    return f", {counted_rows(rows)} differed" if rows else ""


def _schema(state: ServiceStatus) -> str:
    suffix = f" (this program creates {SCHEMA_NUMBER})" if state.schema_number != SCHEMA_NUMBER else ""
    return f"number {state.schema_number}, for programs from number {state.minimum_program} on{suffix}"


def _disagreements(state: ServiceStatus) -> list[str]:
    names = ", ".join(server.name for server in state.servers)
    return [f"servers disagree on {', '.join(state.disagreements)}: {names}"] if state.disagreements else []


def _gone(state: ServiceStatus) -> list[str]:
    gone = {p.leader: [q.name for q in state.projections if q.leader == p.leader] for p in state.projections}
    return [
        f"{GONE}: {leader}, which ran {', '.join(tables)}"
        for leader, tables in gone.items()
        if leader and leader not in state.serving
    ]


def _messages(projections: list[ProjectionOnWire]) -> list[str]:
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
        f"{p.name} v{p.version} ignores skips made for an older version: "
        f"{', '.join(map(str, p.ignored_skips))}"
        for p in projections
        if p.ignored_skips
    ]
    return [*stops, *skips, *old]


STATUS = CliCommand("status", "print the state of servers and read tables", _run, _add_arguments)
