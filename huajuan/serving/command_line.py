"""Reads the words of the command line, and has one clear line for each way to fail."""

import argparse
import os
import sys

from huajuan.database import DatabaseUnusable
from huajuan.embedded_postgres import EmbeddedPostgresError
from huajuan.logs import configure_logs
from huajuan.serving.painter import PainterDidNotStart
from huajuan.serving.port import AddressUnusable
from huajuan.serving.running import WorkersDidNotStart
from huajuan.serving.serve import serve
from huajuan.settings import SettingsError, from_environment

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
    _parser().parse_args()
    configure_logs()
    try:
        serve(from_environment(os.environ))
    except _CLEAR as error:
        sys.stderr.write(f"huajuan: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="huajuan", description="画卷 huajuan: text to image on an event log."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("serve", help="serve the REST API (settings are HUAJUAN_… variables, see README)")
    return parser
