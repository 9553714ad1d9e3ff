"""`export`: a part of the log with its chain as JSON Lines, which `verify FILE` proves whole anywhere."""

import sys
from argparse import ArgumentParser, Namespace
from typing import IO

import psycopg

from huajuan.audit.connecting import newest, stream_ids
from huajuan.audit.errors import AuditError
from huajuan.audit.exports import Header, chain_before, exported, open_export
from huajuan.command_line.progress import progress
from huajuan.command_line.saying import log_of, whole_file
from huajuan.command_line.verb import Verb
from huajuan.settings import Settings


def _words(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--from", type=int, default=1, dest="first", metavar="POS", help="the first position (1)"
    )
    parser.add_argument(
        "--to", type=int, dest="last", metavar="POS", help="the last position (the log's last)"
    )
    parser.add_argument("--out", metavar="FILE", help="write it there, compressed if it ends in .gz")


def _act(settings: Settings, words: Namespace) -> int:
    with log_of(settings) as connection:
        header = _header(connection, words.first, words.last)
        if not words.out:
            _write(connection, header, sys.stdout.buffer)
            return 0
        with whole_file(words.out) as draft, open_export(draft, "wb") as file:
            _write(connection, header, file)
    return 0


def _header(connection: psycopg.Connection, first: int, last: int | None) -> Header:
    there, _ = newest(connection)
    last = there if last is None else last
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
