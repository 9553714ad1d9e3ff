"""`rebuild`: read tables made anew from the log, while the old ones serve."""

import asyncio
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

import msgspec

from huajuan.cli.arguments import reason_given, whole_number
from huajuan.cli.command import CannotDo, Verb
from huajuan.cli.database import database_there_is, opened_store
from huajuan.cli.output import counted_rows, report_done
from huajuan.cli.progress import progress_of_stages
from huajuan.commands.ask_for_rebuild import ask_for_rebuild
from huajuan.projections.engine.projection import Projection
from huajuan.projections.rebuild.compare import Differences
from huajuan.projections.rebuild.rebuild import Report, rebuild
from huajuan.projections.registry import PROJECTIONS
from huajuan.settings import Settings

TABLES_DIFFERED = 2
# Whoever is served meanwhile comes first.
NICENESS = 10


def _words(parser: ArgumentParser) -> None:
    known = ", ".join(projection.name for projection in PROJECTIONS)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"all unless named: {known}")
    parser.add_argument("--reason", help="goes on record")
    parser.add_argument(
        "--on-record",
        type=whole_number,
        metavar="POS",
        help="an admin's request for it is on record already, there",
    )
    parser.add_argument("--json", action="store_true", help="report in JSON")


def _act(settings: Settings, words: Namespace) -> int:
    """Exit 2 when the old tables were not what the log says; the new ones are."""
    projections, reason = _named(words.tables), reason_given(words.reason)
    with database_there_is(settings) as database, progress_of_stages() as show:
        if words.on_record is None:
            asyncio.run(_put_on_record(settings, database.dsn, projections, reason))
        os.nice(NICENESS)
        report = rebuild(
            database.dsn,
            projections,
            settings.rebuild,
            lambda p: show(p.doing, p.position, p.head),
            words.on_record,
        )
    text = msgspec.json.encode(report).decode() if words.json else _told(report)
    report_done(text)
    return TABLES_DIFFERED if report.differences else 0


async def _put_on_record(
    settings: Settings, dsn: str, projections: Sequence[Projection], reason: str
) -> None:
    async with opened_store(settings, dsn) as store:
        for projection in projections:
            await ask_for_rebuild(store, projection.schema, reason)


def _named(names: Sequence[str]) -> Sequence[Projection]:
    """Raises `CannotDo`."""
    known = {projection.name: projection for projection in PROJECTIONS}
    if unknown := [name for name in names if name not in known]:
        raise CannotDo(f"there is no read table {unknown[0]}; there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)] or PROJECTIONS


def _told(report: Report) -> str:
    lines = [
        f"rebuilt {', '.join(report.tables)} from {report.position:,} events in {report.seconds:.1f} s; "
        f"live tables stood still for {report.still_seconds * 1000:.0f} ms"
    ]
    same = [name for name in report.compared if name not in {d.table for d in report.differences}]
    if same:
        lines.append(f"byte for byte as before: {', '.join(same)}")
    lines += [_differed(difference) for difference in report.differences]
    if others := [name for name in report.tables if name not in report.compared]:
        lines.append(f"not compared (it had stopped, or was new): {', '.join(others)}")
    if report.left:
        lines.append(f"still read by somebody, and dropped later: {', '.join(report.left)}")
    return "\n".join(lines)


def _differed(difference: Differences) -> str:
    if difference.misshapen:
        return f"{difference.table} was gone or had other columns, and is mended"
    rows = ", ".join(f"{key} ({what})" for key, what in difference.first.items())
    return f"{difference.table} differed in {counted_rows(difference.rows)} and is mended: {rows}"


REBUILD = Verb("rebuild", "make read tables anew from the log, while the old ones serve", _act, _words)
