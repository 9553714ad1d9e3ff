"""`export`: a part of the log with its chain as JSON Lines, which `verify FILE` proves whole anywhere."""

import sys
from argparse import ArgumentParser, Namespace
from typing import IO

import psycopg

from huajuan.audit.connection import newest, stream_ids
from huajuan.audit.errors import AuditError
from huajuan.audit.exports import Header, chain_before, compressing, exported
from huajuan.cli.arguments import whole_number
from huajuan.cli.command import Verb
from huajuan.cli.files import file_to_write
from huajuan.cli.output import aside, log_of
from huajuan.cli.progress import progress
from huajuan.settings import Settings


def _words(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--from", type=whole_number, default=1, dest="first", metavar="POS", help="the first position (1)"
    )
    parser.add_argument(
        "--to", type=whole_number, dest="last", metavar="POS", help="the last position (the log's last)"
    )
    parser.add_argument("--out", metavar="FILE", help="write it there, compressed if it ends in .gz")


def _act(settings: Settings, words: Namespace) -> int:
    with log_of(settings) as connection:
        header = _header(connection, words.first, words.last)
        if words.out is None:
            _write(connection, header, sys.stdout.buffer)
            return 0
        with file_to_write(words.out) as file, compressing(file, words.out) as lines:
            _write(connection, header, lines)
    return 0


def _header(connection: psycopg.Connection, first: int, last: int | None) -> Header:
    there, _ = newest(connection)
    if last is not None and first <= there < last:
        aside(f"the log ends at position {there}, and so does the export")
    last = there if last is None or first <= there < last else last
    if not 1 <= first <= last <= there:
        raise AuditError(f"the log has positions 1 to {there}; {first} to {last} are none of it")
    installation = str(stream_ids(connection).installation())
    chain = chain_before(connection, first).hex()
    return Header(installation=installation, first=first, last=last, chain=chain)


def _write(connection: psycopg.Connection, header: Header, file: IO[bytes]) -> None:
    before = header.first - 1
    with progress("export", header.last - before) as told:
        for position, lines in exported(connection, header):
            file.write(lines)
            told(position - before)


EXPORT = Verb("export", "write a part of the log with its chain as JSON Lines", _act, _words)
