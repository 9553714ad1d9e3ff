"""`status`: prints the servers, and the position, runner and errors of each read table."""

import asyncio
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any

import msgspec

from huajuan.audit.connection import open_read_only
from huajuan.cli.database import existing_database, open_statements
from huajuan.cli.output import counted_rows, print_json, print_result
from huajuan.event_store.schema import SCHEMA_NUMBER, InstalledSchema, installed_schema
from huajuan.event_store.stream_ids import StreamIds, load_stream_ids_blocking
from huajuan.http.serializers import ProjectionOnWire, projection_on_wire, wire_time
from huajuan.jobs.server_origins import SETTING, VARIABLE, ServerOrigin, find_origins
from huajuan.projections.engine.status import log_counts, projection_statuses, serving_processes
from huajuan.projections.engine.table import ReadTables
from huajuan.projections.registry import PROJECTIONS
from huajuan.runtime.errors import OperatorError
from huajuan.runtime.redaction import dsn_without_secrets
from huajuan.server.database import Database
from huajuan.server.server_leases import LiveServer, disagreements, live_servers
from huajuan.settings import Settings

COLUMNS = ("table", "position", "behind", "lag s", "per s", "leader", "state", "rebuild")
NUMBERS = COLUMNS[1:5]
WIDTH_WANTED = 80
# Minimum widths that fit `failed: w…`, and `…1:20817`.
LAST_REBUILD_WIDTH_MIN = 10
LEADER_WIDTH_MIN = 9
GONE = "gone"
_LEADER = COLUMNS.index("leader")
_MONTH_AND_DAY = slice(5, 10)
_RED, _PLAIN = "\x1b[31m", "\x1b[0m"


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


def add_status_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def run_status(settings: Settings, arguments: Namespace) -> int:
    with existing_database(settings, build_tables=False) as database:
        with open_read_only(database.dsn) as connection:
            schema = installed_schema(connection)
            if schema is None:
                raise OperatorError("no server was ever started on this database: it has no tables")
            # Programs without a schema number have no leases.
            servers = live_servers(connection) if schema.number else []
            ids = load_stream_ids_blocking(connection)
        status = asyncio.run(_read_status(settings, database, schema, servers, ids))
    if arguments.json:
        print_json(status)
    else:
        _print(status)
    return 0


async def _read_status(
    settings: Settings, database: Database, schema: InstalledSchema, servers: list[LiveServer], ids: StreamIds
) -> ServiceStatus:
    async with open_statements(settings, database.dsn) as statements:
        tables = ReadTables(statements)
        return ServiceStatus(
            database_url=dsn_without_secrets(database.dsn),
            database=database.description,
            serving=await serving_processes(tables),
            schema_number=schema.number,
            minimum_program=schema.minimum_program,
            servers=[ServerShown(s.name, s.program, wire_time(s.started_at)) for s in servers],
            disagreements=disagreements(servers),
            log_position=(await log_counts(tables)).log_position,
            projections=[projection_on_wire(s) for s in await projection_statuses(tables, ids, PROJECTIONS)],
            inference_servers=await find_origins(statements, ids.inference_servers(), settings.comfyui_urls),
        )


def _print(status: ServiceStatus) -> None:
    first, *others = _inference_servers(status)
    lines = [
        f"database      {status.database}",
        f"served by     {', '.join(status.serving) or 'no server'}",
        f"schema        {_schema(status)}",
        f"log position  {status.log_position}",
        f"drawn by      {first}",
        *(f"{'':14}{server}" for server in others),
        "",
        *_table(status),
        *_messages(status),
    ]
    for line in lines:
        print_result(line)


def _inference_servers(status: ServiceStatus) -> list[str]:
    """Correct if this command has the same setting in its environment as the server."""
    shown = [server.sentence for server in status.inference_servers]
    if any(server.source == SETTING for server in status.inference_servers):
        return shown
    return [f"the demo ComfyUI, if the server was started without {VARIABLE} too", *shown]


def _table(status: ServiceStatus) -> list[str]:
    """The lines of stopped tables are red on a terminal."""
    has_colors = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    rows = _fitted([_cells(table, status.serving) for table in status.projections])
    widths = _widths(rows)
    left = max(WIDTH_WANTED - sum(widths) - len(widths), LAST_REBUILD_WIDTH_MIN)
    lines = [_line(COLUMNS, widths)]
    for table, cells in zip(status.projections, rows, strict=True):
        line = _line((*cells, _last_rebuild(table, left)), widths)
        lines.append(f"{_RED}{line}{_PLAIN}" if table.stopped_at and has_colors else line)
    return lines


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    aligned = [
        cell.rjust(width) if column in NUMBERS else cell.ljust(width)
        for column, cell, width in zip(COLUMNS, cells, [*widths, 0], strict=True)
    ]
    return " ".join(aligned)


def _widths(rows: list[tuple[str, ...]]) -> list[int]:
    """The widths of all columns but the last."""
    return [max(map(len, column)) for column in zip(COLUMNS[:-1], *rows, strict=True)]


def _fitted(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Shortens the names in the `leader` column from the left if the table is too wide."""
    widths = _widths(rows)
    too_much = sum(widths) + len(widths) + LAST_REBUILD_WIDTH_MIN - WIDTH_WANTED
    widest = max((len(row[_LEADER]) for row in rows), default=0)
    width = max(widest - max(too_much, 0), LEADER_WIDTH_MIN)
    return [(*row[:_LEADER], _end_of(row[_LEADER], width), *row[_LEADER + 1 :]) for row in rows]


def _end_of(text: str, width: int) -> str:
    return text if len(text) <= width else f"…{text[1 - width :]}"


def _cells(table: ProjectionOnWire, serving: list[str]) -> tuple[str, ...]:
    """All cells but the last one. A process that is gone is named in a message below."""
    return (
        f"{table.name} v{table.version}",
        str(table.position),
        str(table.lag_events),
        f"{table.lag_seconds:.1f}",
        f"{table.events_per_second:.1f}",
        "–" if table.leader is None else table.leader if table.leader in serving else GONE,
        _state(table),
    )


def _state(table: ProjectionOnWire) -> str:
    """The position and the error of a stop are in a message below."""
    if table.stopped_at:
        return "stopped"
    if not table.rebuilding:
        return "follows"
    last = table.last_rebuild
    if last is None or last.position is None or not last.head:
        return "rebuilt"
    return f"rebuilt {last.position / last.head:.0%}"


def _last_rebuild(table: ProjectionOnWire, width: int) -> str:
    """The outcome with the day, if there is room for it. Differences are always shown."""
    last = table.last_rebuild
    if last is None:
        return "–"
    differed = _differed(table.name, last.differences)
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


def _schema(status: ServiceStatus) -> str:
    suffix = f" (this program creates {SCHEMA_NUMBER})" if status.schema_number != SCHEMA_NUMBER else ""
    return f"number {status.schema_number}, for programs from number {status.minimum_program} on{suffix}"


def _messages(status: ServiceStatus) -> Iterator[str]:
    if status.disagreements:
        names = ", ".join(server.name for server in status.servers)
        yield f"servers disagree on {', '.join(status.disagreements)}: {names}"
    gone: dict[str, list[str]] = {}
    for table in status.projections:
        if table.leader and table.leader not in status.serving:
            gone.setdefault(table.leader, []).append(table.name)
    yield from (f"{GONE}: {leader}, which ran {', '.join(names)}" for leader, names in gone.items())
    yield from _table_messages(status.projections)


def _table_messages(tables: list[ProjectionOnWire]) -> list[str]:
    named = [(f"{table.name} v{table.version}", table) for table in tables]
    stops = [
        f"{name} stopped at {table.stopped_at} ({table.stopped_event}): {table.stopped_by}"
        for name, table in named
        if table.stopped_at
    ]
    skips = [
        f"{name} leaves out {skip.position} ({skip.event}): {skip.reason}"
        for name, table in named
        for skip in table.skips
    ]
    ignored = [
        f"{name} ignores skips made for an older version: {', '.join(map(str, table.ignored_skips))}"
        for name, table in named
        if table.ignored_skips
    ]
    return [*stops, *skips, *ignored]
