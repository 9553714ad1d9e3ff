"""Reads the words of the command line, and has one clear line for each way to fail."""

import argparse
import os
import sys

from huajuan.command_line.serve import SERVE
from huajuan.database import DatabaseUnusable
from huajuan.embedded_postgres import EmbeddedPostgresError
from huajuan.logs import configure_logs
from huajuan.serving.painter import PainterDidNotStart
from huajuan.serving.port import AddressUnusable
from huajuan.serving.running import WorkersDidNotStart
from huajuan.settings import SettingsError, from_environment

VERBS = (SERVE,)
_CLEAR = (
    AddressUnusable,
    DatabaseUnusable,
    EmbeddedPostgresError,
    OSError,
    PainterDidNotStart,
    SettingsError,
    WorkersDidNotStart,
)


def run() -> int:
    """Exit 0 only on success."""
    words = _parser().parse_args()
    configure_logs()
    try:
        status: int = words.act(from_environment(os.environ), words)
    except _CLEAR as error:
        sys.stderr.write(f"huajuan: {error}\n")
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="huajuan", description="画卷 huajuan: text to image on an event log."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for verb in VERBS:
        under = commands.add_parser(verb.name, help=verb.help, description=verb.help)
        verb.words(under)
        under.set_defaults(act=verb.act)
    return parser
