"""Reads the words of the command line, and has one clear line for each way to fail."""

import argparse
import os
import sys
from contextlib import suppress
from typing import NoReturn

import psycopg

from huajuan.audit.errors import AuditError
from huajuan.cli.arguments import check_readable
from huajuan.cli.command import CannotDo, Verb
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
from huajuan.cli.stdio import NOBODY_READS, let_go, use_utf8_output
from huajuan.embedded_postgres import EmbeddedPostgresError
from huajuan.event_store.errors import Conflict, LogBusy, LogError
from huajuan.observability.logs import configure_logs
from huajuan.projections.rebuild.errors import RebuildFailed
from huajuan.runtime.shutdown import TOLD_TO_STOP, StopAsked
from huajuan.server.database import DatabaseUnusable
from huajuan.server.demo_process import PainterDidNotStart
from huajuan.server.port import AddressUnusable
from huajuan.server.uvicorn_runner import WorkersDidNotStart
from huajuan.settings import SettingsError, from_environment

VERBS = (
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
_CLEAR = (
    AddressUnusable,
    AuditError,
    CannotDo,
    DatabaseUnusable,
    EmbeddedPostgresError,
    OSError,
    PainterDidNotStart,
    RebuildFailed,
    SettingsError,
    WorkersDidNotStart,
)
_OF_THE_DATABASE = (LogError, psycopg.OperationalError)
_SAID: dict[type[Exception], str] = {
    LogBusy: "the database is too busy; try again",
    Conflict: "others wrote the same at the same time; try again",
}


def run() -> int:
    """Exit 0 only on success, and only when all that there was to say could be written."""
    try:
        check_readable(sys.argv[1:])
        return _run(_parser().parse_args())
    except BrokenPipeError:
        # Who reads no more wants to hear no more.
        return NOBODY_READS
    except _OF_THE_DATABASE as error:
        return _fail(_SAID.get(type(error), "the database does not answer"))
    except _CLEAR as error:
        return _fail(error)
    finally:
        let_go()


def _run(words: argparse.Namespace) -> int:
    verb: Verb = words.verb
    configure_logs()
    if getattr(words, "json", False) or getattr(words, "form", None):
        use_utf8_output()
    try:
        status = verb.act(from_environment(os.environ), words)
        sys.stdout.flush()
        return status
    except StopAsked:
        return 0 if verb.ends_when_told else TOLD_TO_STOP


def _fail(why: object) -> int:
    with suppress(OSError):
        sys.stderr.write(f"huajuan: {why}\n")
    return 1


class _Parser(argparse.ArgumentParser):
    """What it does not understand is a failure like others: exit 2 says that what was compared differs."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="huajuan", description="画卷 huajuan: text to image on an event log.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for verb in VERBS:
        under = commands.add_parser(verb.name, help=verb.help, description=verb.help)
        verb.words(under)
        under.set_defaults(verb=verb)
    return parser
