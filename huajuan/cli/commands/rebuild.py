"""`rebuild`: builds read tables again from the log, while the old ones are in use."""

import asyncio
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

import msgspec

from huajuan.cli.arguments import parse_reason, whole_number
from huajuan.cli.command import CliCommand, CommandError
from huajuan.cli.database import existing_database, open_store
from huajuan.cli.output import counted_rows, print_done
from huajuan.cli.progress import progress_of_stages
from huajuan.commands.operations import request_rebuild
from huajuan.projections.engine.projection import Projection
from huajuan.projections.rebuild.compare import Differences
from huajuan.projections.rebuild.rebuild import RebuildReport, rebuild_tables
from huajuan.projections.registry import PROJECTIONS
from huajuan.server.limits import limits_of
from huajuan.settings import Settings

TABLES_DIFFERED = 2
# Requests to the service have priority.
NICENESS = 10


def _add_arguments(parser: ArgumentParser) -> None:
    names = ", ".join(projection.name for projection in PROJECTIONS)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"the tables (all): {names}")
    parser.add_argument("--reason", help="recorded in the log")
    parser.add_argument(
        "--on-record",
        type=whole_number,
        metavar="POS",
        help="the position of an admin's request for it, which is already in the log",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(settings: Settings, arguments: Namespace) -> int:
    """Returns 2 if the old tables differed from the log; the new ones do not."""
    projections, reason = _find_projections(arguments.tables), parse_reason(arguments.reason)
    with existing_database(settings) as database, progress_of_stages() as show:
        if arguments.on_record is None:
            asyncio.run(_record_request(settings, database.dsn, projections, reason))
        os.nice(NICENESS)
        report = rebuild_tables(
            database.dsn,
            projections,
            limits_of(settings).rebuild,
            lambda p: show(p.doing, p.position, p.head),
            arguments.on_record,
        )
    text = msgspec.json.encode(report).decode() if arguments.json else _describe(report)
    print_done(text)
    return TABLES_DIFFERED if report.differences else 0


async def _record_request(
    settings: Settings, dsn: str, projections: Sequence[Projection], reason: str
) -> None:
    async with open_store(settings, dsn) as store:
        for projection in projections:
            await request_rebuild(store, projection.schema, reason)


def _find_projections(names: Sequence[str]) -> Sequence[Projection]:
    """Raises `CommandError` for an unknown name."""
    known = {projection.name: projection for projection in PROJECTIONS}
    if unknown := [name for name in names if name not in known]:
        raise CommandError(f"there is no read table {unknown[0]}; there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)] or PROJECTIONS


def _describe(report: RebuildReport) -> str:
    lines = [
        f"rebuilt {', '.join(report.tables)} from {report.position:,} events in {report.seconds:.1f} s; "
        f"live tables were locked for {report.still_seconds * 1000:.0f} ms"
    ]
    same = [name for name in report.compared if name not in {d.table for d in report.differences}]
    if same:
        lines.append(f"byte for byte as before: {', '.join(same)}")
    lines += [_describe_difference(difference) for difference in report.differences]
    if others := [name for name in report.tables if name not in report.compared]:
        lines.append(f"not compared (stopped or new): {', '.join(others)}")
    if report.left:
        lines.append(f"still in use, and dropped later: {', '.join(report.left)}")
    return "\n".join(lines)


def _describe_difference(difference: Differences) -> str:
    if difference.misshapen:
        return f"{difference.table} was missing or had other columns, and is repaired"
    rows = ", ".join(f"{key} ({kind})" for key, kind in difference.first.items())
    return f"{difference.table} differed in {counted_rows(difference.rows)} and is repaired: {rows}"


REBUILD = CliCommand(
    "rebuild", "build read tables again from the log, while the old ones are in use", _run, _add_arguments
)
