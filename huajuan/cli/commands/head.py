"""`head`: the log's last position and link, to be published and held against the log later."""

from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime

from huajuan.audit.connection import newest, stream_ids
from huajuan.audit.signed_heads import head_at, signed, written
from huajuan.cli.command import Verb
from huajuan.cli.files import file_to_write
from huajuan.cli.output import log_of, result
from huajuan.server.data_folder import data_folder_made, head_key
from huajuan.settings import Settings


def _words(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--sign", action="store_true", help="with the Ed25519 key of the data folder, made once"
    )
    parser.add_argument("--out", metavar="FILE", help="write it there")


def _act(settings: Settings, words: Namespace) -> int:
    with log_of(settings) as connection:
        position, chain = newest(connection)
        head = head_at(stream_ids(connection).installation(), position, chain, datetime.now(UTC))
    if words.sign:
        with data_folder_made(settings.data_folder) as folder:
            head = signed(head, head_key(settings.data_folder))
            folder.keep()
    if words.out is None:
        result(written(head).decode().rstrip())
    else:
        with file_to_write(words.out) as file:
            file.write(written(head))
    return 0


HEAD = Verb("head", "tell the log's last position and link, as JSON, signed if you like", _act, _words)
