"""Parses the command line and runs the command; each expected error is printed in one line.

The help and a wrong argument need little more than this module. Everything else is imported when it is used.
"""

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any, NamedTuple, NoReturn

from huajuan.cli.arguments import check_utf8
from huajuan.cli.stdio import EXIT_BROKEN_PIPE, discard_unwritable_output, use_utf8_output
from huajuan.runtime.errors import OperatorError


class CliCommand(NamedTuple):
    """A command. `module` of `huajuan.cli.commands` has its functions `run_NAME` and `add_NAME_arguments`.

    `run_NAME` gets the settings and the arguments, and returns the exit status: 0 only on success.
    """

    module: str
    help: str

    def function(self, name: str) -> Callable[..., Any]:
        _import_structlog()
        function: Callable[..., Any] = getattr(import_module(f"huajuan.cli.commands.{self.module}"), name)
        return function


COMMANDS = {
    "serve": CliCommand(
        "serve", "serve the REST API (settings are HUAJUAN_… variables, see docs/settings.md)"
    ),
    "status": CliCommand("status", "print the state of servers and read tables"),
    "rebuild": CliCommand("rebuild", "build read tables again from the log, while the old ones are in use"),
    "verify": CliCommand("verify", "prove that no byte of the log, or of an export, was changed"),
    "head": CliCommand("export", "print the log's last position and link as JSON, optionally signed"),
    "export": CliCommand("export", "write a part of the log with its hash chain as JSON Lines"),
    "replay": CliCommand("replay", "explain an account's points from the log alone, or check all accounts"),
    "timeline": CliCommand("timeline", "print all events of an account"),
    "points": CliCommand("accounts", "add points to an account, or deduct them, with a reason"),
    "admin": CliCommand("accounts", "grant or revoke the admin role"),
    "users": CliCommand("accounts", "approve, reject, ban or unban an account, or reset its check-in"),
    "redraw": CliCommand("redraw", "draw a recorded picture again, and compare the pixels"),
    "storage": CliCommand("storage", "decide which store holds the pictures"),
}


def run() -> int:
    """Returns 0 only on success, and only if all output could be written."""
    try:
        check_utf8(sys.argv[1:])
        return _run(_parser().parse_args())
    except BrokenPipeError:
        return EXIT_BROKEN_PIPE
    except (OperatorError, OSError) as error:
        return _fail(error)
    except Exception as error:
        if message := _describe_database_error(error):
            return _fail(message)
        raise
    finally:
        discard_unwritable_output()


def _run(arguments: argparse.Namespace) -> int:
    from huajuan.runtime.logs import configure_logs
    from huajuan.settings import from_environment, unknown_variables

    configure_logs()
    if getattr(arguments, "json", False) or getattr(arguments, "form", None):
        use_utf8_output()
    settings = from_environment(os.environ)
    for sentence in unknown_variables(os.environ):
        import_module("structlog").get_logger(__name__).warning(sentence)
    status: int = COMMANDS[arguments.command].function(f"run_{arguments.command}")(settings, arguments)
    sys.stdout.flush()
    return status


def _import_structlog() -> None:
    """Without rich, which it imports for tracebacks that we do not use: a tenth of a second."""
    if "structlog" not in sys.modules and "rich" not in sys.modules:
        sys.modules["rich"] = None  # type: ignore[assignment]
        try:
            import_module("structlog")
        finally:
            del sys.modules["rich"]


def _describe_database_error(error: Exception) -> str | None:
    """`None` for any other error."""
    from psycopg import OperationalError

    from huajuan.event_store.errors import Conflict, DatabaseBusy, DatabaseFailure

    texts: dict[type[Exception], str] = {
        DatabaseBusy: "the database is too busy; try again",
        Conflict: "another process changed the same data at the same time; try again",
    }
    is_expected = isinstance(error, DatabaseFailure | OperationalError)
    return texts.get(type(error), "the database does not answer") if is_expected else None


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
    """Only the command of this command line has its arguments."""
    parser = _Parser(prog="huajuan", description="画卷 huajuan: text to image on an event log.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    used = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.help, description=command.help)
        if name == used:
            command.function(f"add_{name}_arguments")(subparser)
    return parser
