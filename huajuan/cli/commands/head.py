"""`head`: prints the log's last position and link, to publish it and compare the log with it later."""

from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime

from huajuan.audit.connection import read_log_head, stream_ids
from huajuan.audit.signed_heads import encode_head, make_head, sign_head
from huajuan.cli.command import CliCommand
from huajuan.cli.database import open_log
from huajuan.cli.files import file_to_write
from huajuan.cli.output import print_result
from huajuan.server.data_folder import creating_data_folder, load_head_key
from huajuan.settings import Settings


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--sign",
        action="store_true",
        help="sign it with the Ed25519 key of the data folder, created at first use",
    )
    parser.add_argument("--out", metavar="FILE", help="the output file")


def _run(settings: Settings, arguments: Namespace) -> int:
    with open_log(settings) as connection:
        position, chain = read_log_head(connection)
        head = make_head(stream_ids(connection).installation(), position, chain, datetime.now(UTC))
    if arguments.sign:
        with creating_data_folder(settings.data_folder) as folder:
            head = sign_head(head, load_head_key(settings.data_folder))
            folder.keep()
    if arguments.out is None:
        print_result(encode_head(head).decode().rstrip())
    else:
        with file_to_write(arguments.out) as file:
            file.write(encode_head(head))
    return 0


HEAD = CliCommand(
    "head", "print the log's last position and link as JSON, optionally signed", _run, _add_arguments
)
