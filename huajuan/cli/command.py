"""The definition of a command of the command line."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass

from huajuan.settings import Settings


class CommandError(Exception):
    """The command cannot do what was requested; the message is the reason in one line."""


def _no_arguments(_: ArgumentParser) -> None:
    """For a command without arguments."""


@dataclass(frozen=True)
class CliCommand:
    """`run` returns the exit status: 0 only on success.

    `add_arguments` adds the command's arguments to its parser.

    A stop signal is a success only for a command that `runs_until_stopped`.
    """

    name: str
    help: str
    run: Callable[[Settings, Namespace], int]
    add_arguments: Callable[[ArgumentParser], None] = _no_arguments
    runs_until_stopped: bool = False
