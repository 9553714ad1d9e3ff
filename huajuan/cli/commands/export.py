"""`export` writes a part of the log with its hash chain for `verify FILE`; `head` its last link."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO

import psycopg

from huajuan.audit.connection import AuditError, read_log_head, stream_ids
from huajuan.audit.exports import ExportHeader, chain_before, compress_if_gz, export_chunks
from huajuan.audit.verify import encode_head, make_head, sign_head
from huajuan.cli.arguments import whole_number
from huajuan.cli.database import open_log
from huajuan.cli.files import file_to_write
from huajuan.cli.output import log, progress
from huajuan.settings import Settings


def add_export_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--from", type=whole_number, default=1, dest="first", metavar="POS", help="the first position (1)"
    )
    parser.add_argument(
        "--to", type=whole_number, dest="last", metavar="POS", help="the last position (the log's last)"
    )
    parser.add_argument("--out", metavar="FILE", help="the output file, compressed if its name ends in .gz")


def run_export(settings: Settings, arguments: Namespace) -> int:
    with open_log(settings) as connection:
        header = _header(connection, arguments.first, arguments.last)
        before = header.first - 1
        with _output(arguments.out) as file, progress("export", header.last - before) as on_progress:
            for position, lines in export_chunks(connection, header):
                file.write(lines)
                on_progress(position - before)
    return 0


@contextmanager
def _output(name: str | None) -> Iterator[IO[bytes]]:
    if name is None:
        yield sys.stdout.buffer
    else:
        with file_to_write(name) as file, compress_if_gz(file, name) as lines:
            yield lines


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


def add_head_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--sign",
        action="store_true",
        help="sign it with the Ed25519 key of the data folder, created at first use",
    )
    parser.add_argument("--out", metavar="FILE", help="the output file")


def run_head(settings: Settings, arguments: Namespace) -> int:
    """To publish it, and to compare the log with it later."""
    with open_log(settings) as connection:
        position, chain = read_log_head(connection)
        head = make_head(stream_ids(connection).installation(), position, chain, datetime.now(UTC))
    if arguments.sign:
        from huajuan.server.data_folder import creating_data_folder, load_head_key

        with creating_data_folder(settings.data_folder) as folder:
            head = sign_head(head, load_head_key(settings.data_folder))
            folder.keep()
    if arguments.out is None:
        sys.stdout.write(encode_head(head).decode())
    else:
        with file_to_write(arguments.out) as file:
            file.write(encode_head(head))
    return 0
