"""Parses the command line and runs the command; each expected error is printed in one line."""

import argparse
import os
import sys
from contextlib import suppress
from typing import NoReturn

import psycopg
import structlog

from huajuan.audit.connection import AuditError
from huajuan.cli.arguments import check_utf8
from huajuan.cli.command import CliCommand, CommandError
from huajuan.cli.commands.admin import ADMIN
from huajuan.cli.commands.export import EXPORT
from huajuan.cli.commands.head import HEAD
from huajuan.cli.commands.points import POINTS
from huajuan.cli.commands.rebuild import REBUILD
from huajuan.cli.commands.redraw import REDRAW
from huajuan.cli.commands.replay import REPLAY
from huajuan.cli.commands.serve import SERVE
from huajuan.cli.commands.status import STATUS
from huajuan.cli.commands.storage import STORAGE
from huajuan.cli.commands.timeline import TIMELINE
from huajuan.cli.commands.users import USERS
from huajuan.cli.commands.verify import VERIFY
from huajuan.cli.stdio import EXIT_BROKEN_PIPE, discard_unwritable_output, use_utf8_output
from huajuan.embedded_postgres import EmbeddedPostgresError
from huajuan.event_store.errors import Conflict, DatabaseBusy, DatabaseFailure
from huajuan.observability.logs import configure_logs
from huajuan.projections.rebuild.errors import RebuildFailed
from huajuan.runtime.shutdown import EXIT_INTERRUPTED, ShutdownRequested
from huajuan.server.database import DatabaseUnusable
from huajuan.server.demo_process import DemoDidNotStart
from huajuan.server.listener import AddressUnusable
from huajuan.server.uvicorn_runner import WorkersDidNotStart
from huajuan.settings import SettingsError, from_environment, unknown_variables

_logger = structlog.get_logger(__name__)

COMMANDS = (
    SERVE,
    STATUS,
    REBUILD,
    VERIFY,
    HEAD,
    EXPORT,
    REPLAY,
    TIMELINE,
    POINTS,
    ADMIN,
    USERS,
    REDRAW,
    STORAGE,
)
_ONE_LINE_ERRORS = (
    AddressUnusable,
    AuditError,
    CommandError,
    DatabaseUnusable,
    EmbeddedPostgresError,
    OSError,
    DemoDidNotStart,
    RebuildFailed,
    SettingsError,
    WorkersDidNotStart,
)
_DATABASE_ERRORS = (DatabaseFailure, psycopg.OperationalError)
_DATABASE_ERROR_TEXTS: dict[type[Exception], str] = {
    DatabaseBusy: "the database is too busy; try again",
    Conflict: "another process changed the same data at the same time; try again",
}


def run() -> int:
    """Returns 0 only on success, and only if all output could be written."""
    try:
        check_utf8(sys.argv[1:])
        return _run(_parser().parse_args())
    except BrokenPipeError:
        return EXIT_BROKEN_PIPE
    except _DATABASE_ERRORS as error:
        return _fail(_DATABASE_ERROR_TEXTS.get(type(error), "the database does not answer"))
    except _ONE_LINE_ERRORS as error:
        return _fail(error)
    finally:
        discard_unwritable_output()


def _run(arguments: argparse.Namespace) -> int:
    command: CliCommand = arguments.cli_command
    configure_logs()
    if getattr(arguments, "json", False) or getattr(arguments, "form", None):
        use_utf8_output()
    try:
        settings = from_environment(os.environ)
        for sentence in unknown_variables(os.environ):
            _logger.warning(sentence)
        status = command.run(settings, arguments)
        sys.stdout.flush()
        return status
    except ShutdownRequested:
        return 0 if command.runs_until_stopped else EXIT_INTERRUPTED


def _fail(reason: object) -> int:
    with suppress(OSError):
        sys.stderr.write(f"huajuan: {reason}\n")
    return 1


class _Parser(argparse.ArgumentParser):
    """Exits with 1 on invalid arguments, because exit status 2 means that a comparison found a difference."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="huajuan", description="画卷 huajuan: text to image on an event log.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        subparser = commands.add_parser(command.name, help=command.help, description=command.help)
        command.add_arguments(subparser)
        subparser.set_defaults(cli_command=command)
    return parser
