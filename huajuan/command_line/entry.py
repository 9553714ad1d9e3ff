"""Reads the words of the command line, and has one clear line for each way to fail."""

import argparse
import os
import sys

from huajuan.audit.errors import AuditError
from huajuan.command_line.export import EXPORT
from huajuan.command_line.head import HEAD
from huajuan.command_line.replay import REPLAY
from huajuan.command_line.serve import SERVE
from huajuan.command_line.verify import VERIFY
from huajuan.database import DatabaseUnusable
from huajuan.embedded_postgres import EmbeddedPostgresError
from huajuan.logs import configure_logs
from huajuan.serving.painter import PainterDidNotStart
from huajuan.serving.port import AddressUnusable
from huajuan.serving.running import WorkersDidNotStart
from huajuan.serving.stopping import StopAsked
from huajuan.settings import SettingsError, from_environment

VERBS = (SERVE, VERIFY, HEAD, EXPORT, REPLAY)
_CLEAR = (
    AddressUnusable,
    AuditError,
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
    except StopAsked:
        return words.stopped  # type: ignore[no-any-return]
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="huajuan", description="画卷 huajuan: text to image on an event log."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for verb in VERBS:
        under = commands.add_parser(verb.name, help=verb.help, description=verb.help)
        verb.words(under)
        under.set_defaults(act=verb.act, stopped=verb.stopped)
    return parser
