"""`export`: writes a part of the log with its hash chain as JSON Lines, for `verify FILE`."""

import sys
from argparse import ArgumentParser, Namespace
from typing import IO

import psycopg

from huajuan.audit.connection import AuditError, read_log_head, stream_ids
from huajuan.audit.exports import ExportHeader, chain_before, compress_if_gz, export_chunks
from huajuan.cli.arguments import whole_number
from huajuan.cli.command import CliCommand
from huajuan.cli.database import open_log
from huajuan.cli.files import file_to_write
from huajuan.cli.output import log
from huajuan.cli.progress import progress
from huajuan.settings import Settings


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--from", type=whole_number, default=1, dest="first", metavar="POS", help="the first position (1)"
    )
    parser.add_argument(
        "--to", type=whole_number, dest="last", metavar="POS", help="the last position (the log's last)"
    )
    parser.add_argument("--out", metavar="FILE", help="the output file, compressed if its name ends in .gz")


def _run(settings: Settings, arguments: Namespace) -> int:
    with open_log(settings) as connection:
        header = _header(connection, arguments.first, arguments.last)
        if arguments.out is None:
            _write(connection, header, sys.stdout.buffer)
            return 0
        with file_to_write(arguments.out) as file, compress_if_gz(file, arguments.out) as lines:
            _write(connection, header, lines)
    return 0


def _header(connection: psycopg.Connection, first: int, last: int | None) -> ExportHeader:
    head, _ = read_log_head(connection)
    if last is not None and first <= head < last:
        log(f"the log ends at position {head}, and so does the export")
    last = head if last is None or first <= head < last else last
    if not 1 <= first <= last <= head:
        raise AuditError(f"the log has positions 1 to {head}, so {first} to {last} cannot be exported")
    installation = str(stream_ids(connection).installation())
    chain = chain_before(connection, first).hex()
    return ExportHeader(installation=installation, first=first, last=last, chain=chain)


def _write(connection: psycopg.Connection, header: ExportHeader, file: IO[bytes]) -> None:
    before = header.first - 1
    with progress("export", header.last - before) as on_progress:
        for position, lines in export_chunks(connection, header):
            file.write(lines)
            on_progress(position - before)


EXPORT = CliCommand(
    "export", "write a part of the log with its hash chain as JSON Lines", _run, _add_arguments
)
