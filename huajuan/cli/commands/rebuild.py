"""`rebuild`: builds read tables again from the log, while the old ones are in use."""

import asyncio
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

import msgspec

from huajuan.cli.arguments import parse_reason, whole_number
from huajuan.cli.database import existing_database, open_store
from huajuan.cli.output import counted_rows, print_done, progress_of_stages
from huajuan.commands.operations import request_rebuild
from huajuan.projections.engine.projection import Projection
from huajuan.projections.rebuild.rebuild import RebuildReport, rebuild_tables
from huajuan.projections.rebuild.swap import Differences
from huajuan.projections.registry import PROJECTIONS
from huajuan.runtime.errors import OperatorError
from huajuan.server.limits import limits_of
from huajuan.settings import Settings

TABLES_DIFFERED = 2
# Requests to the service have priority.
NICENESS = 10


def add_rebuild_arguments(parser: ArgumentParser) -> None:
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


def run_rebuild(settings: Settings, arguments: Namespace) -> int:
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
    print_done(msgspec.json.encode(report).decode() if arguments.json else _describe(report))
    return TABLES_DIFFERED if report.differences else 0


async def _record_request(
    settings: Settings, dsn: str, projections: Sequence[Projection], reason: str
) -> None:
    async with open_store(settings, dsn) as (store, _):
        for projection in projections:
            await request_rebuild(store, projection.schema, reason)


def _find_projections(names: Sequence[str]) -> Sequence[Projection]:
    """Raises `OperatorError` for an unknown name."""
    known = {projection.name: projection for projection in PROJECTIONS}
    if unknown := [name for name in names if name not in known]:
        raise OperatorError(f"there is no read table {unknown[0]}; there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)] or PROJECTIONS


def _describe(report: RebuildReport) -> str:
    different = {difference.table for difference in report.differences}
    lines = {
        "byte for byte as before": [name for name in report.compared if name not in different],
        "not compared (stopped or new)": [name for name in report.tables if name not in report.compared],
        "still in use, and dropped later": report.left,
    }
    same, *others = [f"{text}: {', '.join(names)}" if names else "" for text, names in lines.items()]
    first = (
        f"rebuilt {', '.join(report.tables)} from {report.position:,} events in {report.seconds:.1f} s; "
        f"live tables were locked for {report.still_seconds * 1000:.0f} ms"
    )
    return "\n".join(filter(None, [first, same, *map(_describe_difference, report.differences), *others]))


def _describe_difference(difference: Differences) -> str:
    if difference.misshapen:
        return f"{difference.table} was missing or had other columns, and is repaired"
    rows = ", ".join(f"{key} ({kind})" for key, kind in difference.first.items())
    return f"{difference.table} differed in {counted_rows(difference.rows)} and is repaired: {rows}"
